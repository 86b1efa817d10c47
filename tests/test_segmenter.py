"""A segmenter on whole images: sizes that it takes, tiles, scores by hand; and batches of pairs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data import HorizontalFlip, Loader, normalise
from convatlas.data.segmentation.assembly import MaskAssembly
from convatlas.data.segmentation.augment import RandomScale
from convatlas.data.segmentation.transform import MaskTransform, mirror
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.segmenter import Segmenter, evaluate_segmenter, next_length, output_margin
from convatlas.records import VOID, Preprocessing
from convatlas.sizes import Sizes
from convatlas.training.dense_losses import PixelCrossEntropy
from masks import COLOURS, drawn, read_masks_folder, write_parts

PLAIN = Preprocessing((32, 32), mean=(0.0,), std=(1 / 255,))  # pixels go in as they are


class Nearest(nn.Module):
    """The class whose colour is nearest, pixel by pixel: what `masks.drawn` draws is told apart."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = nn.Buffer(torch.from_numpy(COLOURS).float().view(1, 3, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return -((x[:, None] - self.colours) / 255).square().sum(2)


class Strided(nn.Sequential):
    """Takes multiples of 8: an eighth, and enlarged again."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.ConvTranspose2d(4, 3, 8, stride=8))

    def forward(self, x: Tensor) -> Tensor:
        if any(side % 8 for side in x.shape[2:]):
            raise ValueError(f"{tuple(x.shape[2:])}; expected multiples of 8")
        return super().forward(x)


class Valid(nn.Sequential):
    """Two convolutions without padding: 2 pixels less on each side."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))


class OneSize(nn.Module):
    """Takes 32 x 32 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Nearest()

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != (32, 32):
            raise ValueError(f"{tuple(x.shape[2:])}; expected 32 x 32")
        return self.inner(x)


def source_image(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


# --- sizes ---


@pytest.mark.parametrize(("height", "width"), [(32, 40), (33, 47), (5, 3), (64, 9)])
def test_a_image_is_padded_to_a_size_that_the_network_takes_and_cut_back(height, width):
    net, image = Strided().eval(), source_image(height, width)
    segmenter = Segmenter(net, PLAIN)
    down, right = -height % 8, -width % 8
    with torch.no_grad():
        expected = net(F.pad(image[None].float(), (0, right, 0, down)))[0, :, :height, :width]
    assert torch.allclose(segmenter.logits(image), expected, atol=1e-4)
    assert (segmenter.margin_px, segmenter.protocol) == (0, "whole image")


def test_next_length_by_hand():
    assert [next_length(n, Sizes(32, None, 16)) for n in (1, 32, 33, 48, 49)] == [32, 32, 48, 48, 64]
    with pytest.raises(ConvatlasError, match="a side of 70 pixels is too long"):
        next_length(70, Sizes(32, 64, 16))


def test_a_network_of_one_size_sees_the_image_scaled():
    segmenter, image = Segmenter(OneSize(), PLAIN), source_image(48, 40)
    scaled = F.interpolate(image[None], (32, 32), mode="bilinear", antialias=True)
    expected = F.interpolate(Nearest()(scaled.float()), (48, 40), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(segmenter.logits(image), expected)
    assert segmenter.protocol == "whole image, scaled to 32 x 32"


def test_valid_convolutions_go_by_tiles_that_equal_one_pass(monkeypatch):
    net, image = Valid().eval(), source_image(37, 50)
    assert output_margin(net, (3, 32, 32)) == 2
    rows, columns = mirror(37, 2, 41), mirror(50, 2, 54)
    with torch.no_grad():
        whole = net(image[:, rows][:, :, columns][None].float())[0]
    assert whole.shape == (2, 37, 50)
    for bytes_ in (1 << 30, 60_000):
        monkeypatch.setattr("convatlas.evaluation.segmenter.TILE_BYTES", bytes_)
        segmenter = Segmenter(net, PLAIN)
        assert torch.allclose(segmenter.logits(image), whole, rtol=1e-4, atol=1e-3)
        assert segmenter.protocol == "overlapping tiles, mirrored borders"


def test_resized_and_back():
    image = source_image(48, 64)
    segmenter = Segmenter(Nearest(), replace(PLAIN, resize="short_side", resize_to=24))
    small = F.interpolate(image[None], (24, 32), mode="bilinear", antialias=True).float()
    expected = F.interpolate(Nearest()(small), (48, 64), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(segmenter.logits(image), expected)
    assert segmenter.protocol == "whole image, short side 24"


def test_grey_images_are_seen_in_colour_and_refined_ones_are_probabilities():
    image = source_image(9, 12)[:1]
    plain = Segmenter(Nearest(), PLAIN).logits(image)
    assert torch.equal(plain, Segmenter(Nearest(), PLAIN).logits(image.expand(3, -1, -1)))
    seen = []

    def refine(logits: Tensor, original: Tensor) -> Tensor:
        seen.append((logits, original))
        return logits.softmax(0)

    refined = Segmenter(Nearest(), PLAIN, refine=refine).logits(image)
    assert torch.allclose(refined, plain.log_softmax(0))
    assert torch.equal(seen[0][1], image)


def test_outputs_that_are_no_maps_are_refused():
    with pytest.raises(ConvatlasError, match="gives no map"):
        output_margin(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), (3, 8, 8))
    with pytest.raises(ConvatlasError, match="expected one margin all round"):
        output_margin(nn.Conv2d(3, 2, (3, 1)), (3, 8, 8))


# --- scores ---


@pytest.fixture
def split(tmp_path):
    return read_masks_folder(write_parts(tmp_path, 5, 1))[0]


CLASSES = ("ground", "brick", "leaf")


def test_scores_by_hand(split):
    """The network mistakes nothing but the ten pixels that are painted over here."""
    seen = []

    class Mistaken(Nearest):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            out[:, 1, 0, :10] = 5.0
            return out

    truth = [torch.from_numpy(drawn(i)[1]) for i in range(5)]
    confusion = torch.zeros(3, 3, dtype=torch.int64)
    for mask in truth:
        predicted = mask.clone()
        predicted[0, :10] = 1
        for true, found in zip(mask.flatten().tolist(), predicted.flatten().tolist(), strict=True):
            confusion[true, found] += 1
    net = Mistaken().train()
    found = evaluate_segmenter(
        net,
        split,
        PLAIN,
        classes=CLASSES,
        loss=PixelCrossEntropy(),
        on_image=lambda i, image, p, m: seen.append((i, image.shape, p, m)),
    )
    assert torch.equal(found.confusion, confusion)
    assert found.pixel_accuracy == confusion.diagonal().sum().item() / (5 * 48 * 64)
    assert net.training
    assert [entry[0] for entry in seen] == list(range(5))
    assert torch.equal(seen[3][3], truth[3])
    assert torch.equal(seen[3][2] == 1, (truth[3] == 1) | (torch.arange(48 * 64).view(48, 64) < 10))


def test_the_loss_is_the_mean_over_the_images(split):
    loss = PixelCrossEntropy()
    each = [loss(Nearest()(a[None].float()), b[None].long()).item() for a, b in (split.read_pair(i) for i in range(5))]
    assert evaluate_segmenter(Nearest(), split, PLAIN, classes=CLASSES, loss=loss).loss == pytest.approx(sum(each) / 5)


def test_void_is_not_counted_and_damage_is_named(split):
    values = drawn(0)[1]
    values[:24] = VOID
    Image.fromarray(values).save(split.masks[0])
    Path(split.masks[1]).write_bytes(b"no image")
    Path(split.paths[2]).write_bytes(b"no image either")
    found = evaluate_segmenter(Nearest(), split, PLAIN, classes=CLASSES, loss=PixelCrossEntropy())
    assert int(found.confusion.sum()) == 24 * 64 + 2 * 48 * 64
    assert found.pixel_accuracy == 1
    assert [Path(problem.path).name for problem in found.problems] == ["p1.png", "p2.png"]
    assert "masks/p1.png: not a mask" in found.problems[0].reason
    assert str(split.paths[2]) not in found.problems[1].reason  # the file is named once


def test_two_shares_gathered_equal_one(split):
    Path(split.paths[1]).write_bytes(b"no image")
    alone = evaluate_segmenter(Nearest(), split, PLAIN, classes=CLASSES, loss=PixelCrossEntropy())
    rows: list[list[Tensor]] = [[], []]
    for rank in (0, 1):

        def note(row: Tensor, rank: int = rank) -> Tensor:
            rows[rank].append(row)
            return row

        evaluate_segmenter(
            Nearest(), split, PLAIN, classes=CLASSES, loss=PixelCrossEntropy(), share=(rank, 2), gather=note
        )
    gathered = iter([torch.cat(pair) for pair in zip(*rows, strict=True)])
    both = evaluate_segmenter(
        Nearest(),
        split,
        PLAIN,
        classes=CLASSES,
        loss=PixelCrossEntropy(),
        share=(0, 2),
        gather=lambda _: next(gathered),
    )
    assert torch.equal(both.confusion, alone.confusion)
    assert both.loss == pytest.approx(alone.loss)


@pytest.mark.parametrize("share", [(0, 1), (4, 5), (6, 7)])
def test_when_nothing_can_be_read_that_is_said(split, share):
    for path in split.paths:
        Path(path).write_bytes(b"no image")
    with pytest.raises(ConvatlasError, match="none of the 5 test images can be read"):
        evaluate_segmenter(Nearest(), split, PLAIN, classes=CLASSES, loss=PixelCrossEntropy(), share=share)


# --- batches of pairs ---

SMALL = Preprocessing((24, 24), mean=(0.5,), std=(0.5,))
STEPS = (RandomScale((0.7, 1.4)), HorizontalFlip())


def loader(split, **more) -> Loader:
    settings = {"batch_size": 2, "shuffle": True, "seed": 3} | more
    return Loader(MaskAssembly(split, SMALL, STEPS if settings["shuffle"] else None), **settings)


def batches(loaded: Loader, epoch: int = 1, start: int = 0) -> list[tuple[Tensor, Tensor, list[int]]]:
    return [(b.images, b.labels, b.indices.tolist()) for b in loaded.epoch(epoch, start)]


def assert_same(first, second) -> None:
    assert [batch[2] for batch in first] == [batch[2] for batch in second]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_batches_do_not_depend_on_workers_or_on_where_an_epoch_goes_on(split):
    whole = batches(loader(split))
    assert [len(batch[2]) for batch in whole] == [2, 2, 1]
    assert sorted(index for batch in whole for index in batch[2]) == list(range(5))
    assert_same(batches(loader(split, workers=2)), whole)
    assert_same(batches(loader(split), start=1), whole[1:])
    assert_same(batches(loader(split), start=3), [])
    other = batches(loader(split), epoch=2)
    assert [batch[2] for batch in other] != [batch[2] for batch in whole]
    assert whole[0][0].shape == (2, 3, 24, 24)
    assert whole[0][1].shape == (2, 24, 24)


def test_a_image_is_augmented_by_epoch_and_place_in_the_split_alone(split):
    by_index = {i: b[1][n] for b in batches(loader(split)) for n, i in enumerate(b[2])}
    again = {i: b[1][n] for b in batches(loader(split, batch_size=5)) for n, i in enumerate(b[2])}
    later = {i: b[1][n] for b in batches(loader(split), epoch=2) for n, i in enumerate(b[2])}
    assert all(torch.equal(by_index[i], again[i]) for i in range(5))
    assert any(not torch.equal(by_index[i], later[i]) for i in range(5))


def test_without_shuffling_nothing_is_drawn(split):
    plain = batches(loader(split, shuffle=False))
    assert [batch[2] for batch in plain] == [[0, 1], [2, 3], [4]]
    assert_same(batches(loader(split, shuffle=False), epoch=7), plain)
    image, mask = MaskTransform(SMALL)(*split.read_pair(4), None)
    assert torch.equal(plain[2][0], normalise(image[None], SMALL))
    assert torch.equal(plain[2][1][0], mask.long())


def test_two_shares_make_the_whole_batch(split):
    whole = batches(loader(split, batch_size=3))
    first, second = (batches(loader(split, batch_size=3, share=(rank, 2))) for rank in (0, 1))
    assert len(first) == len(second) == len(whole) == 2
    for batch, one, other in zip(whole, first, second, strict=True):
        assert batch[2] == one[2] + other[2]
        assert torch.equal(batch[0], torch.cat((one[0], other[0])))
        assert torch.equal(batch[1], torch.cat((one[1], other[1])))
    assert [batch.total for batch in loader(split, batch_size=3, share=(1, 2)).epoch(0)] == [3, 2]
    assert len(loader(split, batch_size=4, share=(0, 2))) == 1  # one is left over, too few for two


def test_damaged_images_are_left_out_of_their_batch_and_named_once(split):
    Path(split.paths[0]).write_bytes(b"no image")
    Path(split.masks[3]).write_bytes(b"no mask")
    loaded = loader(split, batch_size=5, check=False, memory_limit_bytes=0)
    for epoch in (0, 1):
        (batch,) = loaded.epoch(epoch)
        assert sorted(batch.indices.tolist()) == [1, 2, 4]
        assert (batch.total, len(batch.images), len(batch.labels)) == (3, 3, 3)
    assert sorted(Path(problem.path).name for problem in split.problems) == ["p0.png", "p3.png"]
    assert all(str(split.paths[0]) not in problem.reason for problem in split.problems)


def test_damaged_images_of_few_are_dropped_before_the_first_batch(split):
    Path(split.masks[3]).write_bytes(b"no mask")
    loaded = loader(split, batch_size=1)
    assert (len(split), len(loaded)) == (4, 4)
    assert [Path(problem.path).name for problem in split.problems] == ["p3.png"]
    for path in split.paths[1:]:
        Path(path).write_bytes(b"no image")
    with pytest.raises(ConvatlasError, match="3 of 4 images can't be read, more than half"):
        loader(split, batch_size=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_of_damaged_images_ends_the_run_with_a_reason(split, workers):
    for path in split.paths:
        Path(path).write_bytes(b"no image")
    with pytest.raises(ConvatlasError, match=r"no image of a batch can be read; .*p\d\.png: not an image"):
        list(loader(split, workers=workers, check=False, memory_limit_bytes=0).epoch(0))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"batch_size": 1, "share": (0, 2)}, "batch_size is 1; expected at least 2"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_settings_out_of_range_are_refused(split, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        loader(split, **settings)
    with pytest.raises(ConvatlasError, match="no images to load"):
        loader(split.select([]))
