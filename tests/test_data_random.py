"""Order, draws and augmentations as pure functions."""

import math
from itertools import pairwise

import pytest
import torch

from convatlas.data import AffineDistortion, HorizontalFlip, PadCrop, RandomCrop, RandomResizedCrop
from convatlas.data.random import balanced_order, permutation, table, uniforms
from convatlas.errors import UsageError

IMAGES = torch.randint(0, 256, (6, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

PINNED_ORDER = [7, 6, 3, 2, 4, 1, 5, 0]


def draws(n: int, width: int) -> torch.Tensor:
    return table(n, width, seed=5, epoch=1)


@pytest.mark.parametrize("width", [1, 3, 4, 6, 22])
def test_single_rows_equal_the_table(width: int) -> None:
    indices = torch.tensor([17, 0, 99, 17])
    assert torch.equal(uniforms(indices, width, 3, 8), table(100, width, 3, 8)[indices])


def test_the_table_of_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    assert torch.equal(table(10, 3, 0, 0), table(50, 3, 0, 0)[:10])


def test_draws_are_uniform_and_differ_by_seed_epoch_and_sample() -> None:
    u = table(20_000, 3, 0, 0)
    assert 0 <= float(u.min()) < float(u.max()) < 1
    assert torch.allclose(u.mean(0), torch.tensor(0.5, dtype=u.dtype), atol=0.01)
    assert torch.allclose(u.var(0), torch.tensor(1 / 12, dtype=u.dtype), atol=0.002)
    assert len(u.flatten().unique()) == u.numel()
    for other in (table(20_000, 3, 1, 0), table(20_000, 3, 0, 1)):
        assert not (u == other).any()


def test_permutation_is_a_function_of_seed_and_epoch() -> None:
    orders = [permutation(50, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert all(a != b for a, b in pairwise([*orders, orders[0]]))
    assert permutation(50, 0, 0).tolist() == orders[0]


def test_permutation_keeps_its_values_between_versions() -> None:
    assert permutation(8, 0, 0).tolist() == PINNED_ORDER


@pytest.mark.parametrize(
    "augmentation",
    [
        PadCrop(2),
        HorizontalFlip(),
        RandomCrop((7, 5)),
        RandomResizedCrop((6, 6)),
        AffineDistortion(originals=0.3),
        AffineDistortion(background=255),
    ],
)
def test_a_batch_equals_its_samples_one_by_one(augmentation) -> None:
    u = draws(6, augmentation.draws)
    batch = augmentation(IMAGES, u)
    single = torch.cat([augmentation(IMAGES[i : i + 1], u[i : i + 1]) for i in range(6)])
    assert torch.equal(batch, single)
    if augmentation.crop_size is not None:
        assert batch.shape[2:] == augmentation.crop_size


def test_pad_crop_by_hand() -> None:
    image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    shifts = {(0.0, 0.0): [[0, 0], [0, 1]], (0.5, 0.5): [[1, 2], [3, 4]], (0.99, 0.5): [[3, 4], [0, 0]]}
    for u, expected in shifts.items():
        assert PadCrop(1)(image, torch.tensor([u])).tolist() == [[expected]]


def test_flip_mirrors_below_one_half() -> None:
    image = torch.tensor([[[[1, 2]]], [[[3, 4]]]], dtype=torch.uint8)
    assert HorizontalFlip()(image, torch.tensor([[0.49], [0.5]])).flatten().tolist() == [2, 1, 3, 4]


def test_random_crop_by_hand_and_too_small() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    assert RandomCrop((2, 2))(image, torch.tensor([[0.9, 0.1]])).flatten().tolist() == [3, 4, 6, 7]
    with pytest.raises(UsageError, match="does not fit"):
        RandomCrop((4, 2))(image, torch.zeros(1, 2))


def test_random_resized_crop_windows_keep_area_and_aspect() -> None:
    crop = RandomResizedCrop((8, 8))
    for row in draws(300, crop.draws).tolist():
        top, left, height, width = crop.window((100, 140), row)
        assert top >= 0
        assert left >= 0
        assert top + height <= 100
        assert left + width <= 140
        assert 0.07 < height * width / 14_000 <= 1
        assert 0.72 < width / height < 1.38


def test_random_resized_crop_falls_back_to_the_centre() -> None:
    crop = RandomResizedCrop((8, 8), scale=(1.0, 1.0))
    assert crop.window((10, 100), [0.5] * 22) == (0, 43, 10, 13)  # a square of area 1000 never fits


def test_random_resized_crop_of_the_whole_is_torchvisions_resize() -> None:
    from torchvision.transforms.v2 import functional as V

    whole = RandomResizedCrop((6, 6), scale=(1.0, 1.0), ratio=(10 / 12, 10 / 12))(IMAGES, torch.zeros(6, 22))
    assert torch.equal(whole, V.resize(IMAGES, [6, 6], antialias=True))


def middle(**changes: float) -> torch.Tensor:
    """Draws that leave an image alone, but for those named."""
    places = {"down": 0, "right": 1, "scale": 2, "squeeze": 3, "shear": 4, "original": 5}
    u = torch.full((1, 6), 0.5)
    for name, value in changes.items():
        u[0, places[name]] = value
    return u


def test_affine_identity_translation_and_shear_by_hand() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2], image[0, 0, 1, 2] = 200, 100
    distortion = AffineDistortion(translation_px=1.0, scale=(0.5, 2.0), squeeze=(0.5, 2.0), shear=1.0)
    assert torch.allclose(distortion(image, middle()), image, atol=1e-3)
    moved = distortion(image, middle(down=1.0, right=0.0))
    assert torch.allclose(moved[0, 0, 3, 1], torch.tensor(200.0), atol=1e-2)
    assert torch.allclose(moved.sum(), torch.tensor(300.0), atol=1e-1)
    # x' = x + y about the centre: the point one row above moves one column to the left, the centre stays
    sheared = distortion(image, middle(shear=1.0))
    assert torch.allclose(sheared[0, 0, 2, 2], torch.tensor(200.0), atol=1e-2)
    assert torch.allclose(sheared[0, 0, 1, 1], torch.tensor(100.0), atol=1e-2)


def test_affine_scale_and_squeeze_by_hand() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 6] = 100  # two to the right of the centre
    image[0, 0, 2, 4] = 50  # two above
    distortion = AffineDistortion(0.0, scale=(0.5, 2.0), squeeze=(0.5, 2.0), shear=0.0)
    doubled = distortion(image, middle(scale=1.0))
    assert math.isclose(float(doubled[0, 0, 4, 8]), 100, abs_tol=0.01)
    assert math.isclose(float(doubled[0, 0, 0, 4]), 50, abs_tol=0.01)
    squeezed = distortion(image, middle(squeeze=0.0))  # half the width, twice the height
    assert math.isclose(float(squeezed[0, 0, 4, 5]), 100, abs_tol=0.01)
    assert math.isclose(float(squeezed[0, 0, 0, 4]), 50, abs_tol=0.01)


def test_affine_fills_with_the_background_and_keeps_originals() -> None:
    white = torch.full((1, 1, 6, 6), 255, dtype=torch.uint8)
    distortion = AffineDistortion(translation_px=3, background=255)
    assert torch.allclose(distortion(white, torch.rand(1, 6)), white.float(), atol=1e-3)
    kept = AffineDistortion(originals=1.0)(IMAGES, draws(6, 6))
    assert torch.allclose(kept, IMAGES.float(), atol=2e-3)


def test_a_balanced_order_has_every_class_equally_often_and_depends_on_seed_and_epoch_alone():
    labels = torch.tensor([0] * 90 + [1] * 9 + [3])
    order = balanced_order(labels, seed=1, epoch=2)
    assert torch.bincount(labels[order]).tolist() == [34, 33, 0, 33]
    counts = torch.bincount(order, minlength=100)
    assert counts[:90].max() == 1  # a frequent class is not repeated
    assert counts[90:99].tolist().count(4) == 6  # 33 places for 9: each three times, six of them a fourth time
    assert counts[90:99].min() == 3
    assert torch.equal(order, balanced_order(labels, seed=1, epoch=2))
    assert not torch.equal(order, balanced_order(labels, seed=1, epoch=3))
    assert not torch.equal(order, balanced_order(labels, seed=2, epoch=2))
