"""Augmentations of an image with its mask or joints: both go the same way, and masks are never interpolated."""

import pytest
import torch
from torch import Tensor

from convatlas.data import HorizontalFlip, PadCrop
from convatlas.data.colour import ColourJitter, PCANoise, PhotometricDistortion
from convatlas.data.segmentation.augment import (
    GridElastic,
    RandomOrientation,
    RandomRotation,
    RandomScale,
    augment,
    window,
)
from convatlas.data.segmentation.transform import MaskTransform, mirror
from convatlas.errors import UsageError
from convatlas.records import VOID, Preprocessing

STEPS = {
    "scale": RandomScale((0.5, 2.0)),
    "larger": RandomScale((1.5, 2.5)),
    "rotation": RandomRotation(25.0),
    "orientation": RandomOrientation(),
    "elastic": GridElastic(sigma_px=3.0),
    "mirror": HorizontalFlip(1.0),
}


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def block(size: tuple[int, int] = (40, 56)) -> tuple[Tensor, Tensor]:
    """A white block on black, and the mask that marks it as class 7 among 0."""
    mask = torch.zeros(size, dtype=torch.uint8)
    mask[5:20, 8:31] = 7
    return (mask > 0).to(torch.uint8).mul(255).expand(3, *size).contiguous(), mask


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("seed", range(4))
def test_what_is_marked_stays_marked(name, seed):
    image, mask = augment((STEPS[name],), *block(), drawn(seed))
    assert image.shape[1:] == mask.shape
    assert (image.dtype, mask.dtype) == (torch.uint8, torch.uint8)
    marked, counted = mask == 7, mask != VOID
    assert int(marked.sum()) > 50
    assert bool(((image[0] > 127) == marked)[counted].double().mean() > 0.98)  # borders may differ by half a pixel


@pytest.mark.parametrize("name", STEPS)
def test_a_mask_gets_no_new_values(name):
    """Between 3 and 200 lie 196 values that interpolation would give."""
    mask = torch.randint(0, 2, (30, 44), generator=drawn(0), dtype=torch.uint8) * 197 + 3
    for seed in range(5):
        _, moved = augment((STEPS[name],), torch.zeros(3, 30, 44, dtype=torch.uint8), mask, drawn(seed))
        assert set(moved.unique().tolist()) <= {3, 200, VOID}
        assert name == "rotation" or VOID not in moved


@pytest.mark.parametrize("name", STEPS)
def test_one_generator_gives_one_pair(name):
    first, again, other = (augment((STEPS[name],), *block(), drawn(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert name == "mirror" or first[1].shape != other[1].shape or not torch.equal(first[1], other[1])


@pytest.mark.parametrize("step", [PCANoise(), ColourJitter(0.4, 0.4, 0.4), PhotometricDistortion()])
def test_changes_of_colour_leave_the_mask_alone(step):
    image, mask = torch.randint(0, 256, (3, 12, 12), generator=drawn(0), dtype=torch.uint8), block()[1][:12, :12]
    changed, same = augment((step,), image, mask, drawn(3))
    assert torch.equal(mask, same)
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, image)


def test_scaled_masks_lie_where_their_images_lie():
    """A mirror image scales to the mirror image of what was scaled: nothing moves to one side."""
    for height in (20, 27, 62, 80):
        image, mask = block((41, 57))  # odd sides: no middle of a pixel falls between two
        step, flip = RandomScale((height / 41, height / 41)), HorizontalFlip(1.0)
        there = augment((step, flip), image, mask, drawn(0))[1]
        back = augment((flip, step), image, mask, drawn(0))[1]
        assert torch.equal(there, back)


def test_what_turns_in_is_void_and_eight_orientations_are_all_drawn():
    _, mask = augment((RandomRotation(40.0),), *block(), drawn(2))
    assert VOID in (mask[0, 0], mask[0, -1])
    numbered = torch.arange(4, dtype=torch.uint8).view(2, 2)
    ways = {tuple(augment((RandomOrientation(),), numbered[None], numbered, drawn(i))[1].flatten().tolist())
            for i in range(80)}  # fmt: skip
    assert len(ways) == 8


def test_half_of_the_images_are_mirrored():
    count = sum(
        int(not torch.equal(augment((HorizontalFlip(),), *block(), drawn(i))[1], block()[1])) for i in range(200)
    )
    assert 75 < count < 125


def test_what_knows_no_masks_is_refused():
    with pytest.raises(UsageError, match="augment: PadCrop knows no masks; expected HorizontalFlip, RandomScale"):
        augment((PadCrop(2),), *block(), drawn(0))


def test_a_window_in_the_middle_or_anywhere():
    image, mask = torch.arange(24, dtype=torch.uint8).view(1, 4, 6), torch.arange(24, dtype=torch.uint8).view(4, 6)
    cut, marked = window(image, mask, (2, 3), torch.zeros(1), None)
    assert cut[0].tolist() == marked.tolist() == [[7, 8, 9], [13, 14, 15]]
    places = set()
    for seed in range(200):
        cut, marked = window(image, mask, (2, 3), torch.zeros(1), drawn(seed))
        assert torch.equal(cut[0], marked)
        places.add(int(marked[0, 0]))
    assert places == {6 * y + x for y in range(3) for x in range(4)}


def test_a_window_beyond_the_image_is_filled_and_void():
    image, mask = torch.full((3, 2, 2), 9, dtype=torch.uint8), torch.ones(2, 2, dtype=torch.uint8)
    cut, marked = window(image, mask, (3, 4), torch.tensor([1, 2, 3], dtype=torch.uint8), None)
    assert marked.tolist() == [[1, 1, VOID, VOID], [1, 1, VOID, VOID], [VOID] * 4]
    assert [channel[2].tolist() for channel in cut] == [[1] * 4, [2] * 4, [3] * 4]
    assert [channel[0].tolist() for channel in cut] == [[9, 9, 1, 1], [9, 9, 2, 2], [9, 9, 3, 3]]
    higher, marked = window(image, mask, (3, 1), torch.zeros(3, dtype=torch.uint8), drawn(0))
    assert (higher.shape, marked.tolist()) == ((3, 3, 1), [[1], [1], [VOID]])


# --- the whole of it ---


def test_an_assembled_pair_is_the_middle_of_the_resized_image():
    image, mask = block()
    ready, truth = MaskTransform(Preprocessing((16, 16), resize="short_side", resize_to=20))(image, mask, None)
    assert (ready.shape, truth.shape, truth.dtype) == ((3, 16, 16), (16, 16), torch.uint8)
    assert bool(((ready[0] > 127) == (truth == 7)).double().mean() > 0.97)
    assert set(truth.unique().tolist()) == {0, 7}


def test_grey_networks_get_grey_and_what_is_missing_is_the_mean():
    image, mask = torch.full((3, 4, 4), 200, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8)
    ready, truth = MaskTransform(Preprocessing((4, 6), channels=1, mean=(0.2,), std=(0.1,)))(image, mask, None)
    assert ready[0, 0].tolist() == [200] * 4 + [51] * 2
    assert truth[0].tolist() == [0] * 4 + [VOID] * 2
    colour, _ = MaskTransform(Preprocessing((4, 5), mean=(0.0, 0.2, 0.4)))(image, mask, None)
    assert colour[:, 0, 4].tolist() == [0, 51, 102]


@pytest.mark.parametrize(("length", "before", "total"), [(5, 3, 12), (2, 5, 9), (1, 2, 5), (7, 0, 7)])
def test_mirrored_places_are_numpy_s(length, before, total):
    import numpy as np

    expected = np.pad(np.arange(length), (before, total - length - before), mode="reflect")
    assert mirror(length, before, total).tolist() == expected.tolist()


def test_with_a_margin_every_pixel_can_be_in_the_output():
    """Valid convolutions see the mirrored image; the middle of each window is a part of the real one."""
    mask = torch.arange(36, dtype=torch.uint8).view(6, 6)
    assemble = MaskTransform(Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.5,)), (), margin_px=3)
    seen = set()
    for seed in range(400):
        image, truth = assemble(mask[None], mask, drawn(seed))
        assert torch.equal(image[0].long(), truth)
        seen |= set(truth[3:5, 3:5].flatten().tolist())
    assert seen == set(range(36))
    _, truth = MaskTransform(Preprocessing((12, 12), channels=1, mean=(0.5,)), (), margin_px=3)(mask[None], mask, None)
    assert torch.equal(truth[3:9, 3:9], mask.long())
    assert truth[0, 0] == mask[3, 3]
