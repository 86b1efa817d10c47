"""Boxes that move with their images and come back, batches that depend on seed, epoch and index, and a whole pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from convatlas.data import Loader
from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.data.detection.placing import place, shape
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.detector import evaluate_detector, pack, unpack
from convatlas.records import Detections, Objects, Preprocessing

STRETCH = Preprocessing((32, 32), resize="stretch", resize_to=32, mean=(0.0,) * 3, std=(1.0,) * 3)
SHORT = Preprocessing((20, 50), resize="short_side", resize_to=20, mean=(0.5,) * 3, std=(1.0,) * 3)


def bright_box(root: Path, count: int, size: tuple[int, int] = (48, 64)) -> DetectionSplit:
    """Dark images (H, W) with one bright rectangle, which is the object."""
    pages = []
    for number in range(count):
        pixels = np.zeros((*size, 3), np.uint8)
        left = 4 + 3 * number
        pixels[8:24, left : left + 20] = 255
        file = root / f"{number}.png"
        Image.fromarray(pixels).save(file)
        box = torch.tensor([[left, 8.0, left + 20, 24.0]])
        pages.append(Annotated(str(file), size, box, torch.tensor([number % 2]), torch.tensor([False])))
    return DetectionSplit(pages)


def mirrored(image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
    if torch.rand((), generator=generator) < 0.5:
        return image, objects
    width = image.shape[2]
    boxes = objects.boxes[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([width, 0.0, width, 0])
    return image.flip(2), Objects(boxes, objects.labels, objects.difficult)


class FindsBright(nn.Module):
    """One box around the bright pixels: class 0, or what it is told."""

    def __init__(self, label: int = 0) -> None:
        super().__init__()
        self.label = label

    def detect(self, images: Tensor) -> list[Detections]:
        assert not self.training
        found = []
        for image in images:
            y, x = (image[0] > 0.4).nonzero().unbind(1)
            box = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()[None]
            found.append(Detections(box, torch.tensor([self.label]), torch.tensor([0.9])))
        return found

    def losses(self, images: Tensor, targets: list[Objects]) -> dict[str, Tensor]:
        return {"a": torch.tensor(1.0), "b": torch.tensor(float(len(targets)))}


def box_of_bright(image: Tensor) -> Tensor:
    return FindsBright().eval().detect(image[None])[0].boxes[0]


@pytest.mark.parametrize(
    "preprocessing",
    [
        STRETCH,
        SHORT,
        Preprocessing((40, 40), resize="fit", resize_to=40, mean=(0.0,) * 3, std=(1.0,) * 3),
        Preprocessing((48, 64), mean=(0.0,) * 3, std=(1.0,) * 3),
    ],
)
def test_boxes_and_masks_move_with_the_image_and_back(tmp_path: Path, preprocessing: Preprocessing) -> None:
    image, objects = bright_box(tmp_path, 1).read(0)
    mask = image[:1] > 127
    where = place((48, 64), preprocessing)
    made = shape(image, preprocessing, where)
    moved = where.to_input(Objects(objects.boxes, objects.labels, objects.difficult, mask))
    assert tuple(made.shape[1:]) == where.size
    assert (box_of_bright(made / 255) - moved.boxes[0]).abs().max() <= 1
    assert moved.masks is not None
    assert moved.masks.shape == (1, *where.size)
    assert ((made[0] > 127) != moved.masks[0]).float().mean() < 0.02
    back = where.to_image(Detections(moved.boxes, moved.labels, torch.ones(1), moved.masks))
    assert torch.allclose(back.boxes, objects.boxes, atol=1e-4)
    assert back.masks is not None
    assert back.masks.shape == mask.shape
    assert (back.masks != mask).float().mean() < 0.05


def test_placement_by_hand() -> None:
    fit = place((50, 100), Preprocessing((40, 40), resize="fit", resize_to=40))
    assert (fit.scaled, fit.offset) == ((20, 40), (10, 0))
    short = place((100, 200), SHORT)  # 20 by the short side gives 40
    assert short.size == (20, 40)
    limited = place((100, 400), SHORT)  # the long side stops at 50
    assert limited.size == (12, 50)
    with pytest.raises(UsageError, match="resize_to"):
        place((9, 9), Preprocessing((9, 9), resize="short_side"))


def test_detections_beside_the_image_are_left_out() -> None:
    where = place((50, 100), Preprocessing((40, 40), resize="fit", resize_to=40))
    found = Detections(torch.tensor([[0.0, 0, 40, 9], [0, 5, 40, 20]]), torch.tensor([0, 1]), torch.tensor([0.9, 0.8]))
    back = where.to_image(found)
    assert back.labels.tolist() == [1]
    assert back.boxes.tolist() == [[0, 0, 100, 25]]


def test_batches_and_their_objects(tmp_path: Path) -> None:
    loader = Loader(BoxAssembly(bright_box(tmp_path, 5), STRETCH), batch_size=2)
    batches = list(loader.epoch(0))
    assert loader.in_memory
    assert [len(batch.labels) for batch in batches] == [2, 2, 1]
    assert torch.cat([batch.indices for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    for batch in batches:
        for image, objects in zip(batch.images, batch.labels, strict=True):
            assert (box_of_bright(image) - objects.boxes[0]).abs().max() <= 1


def test_images_of_different_sizes_are_padded_with_the_mean(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    wide, high = bright_box(tmp_path, 1, (40, 80)), bright_box(tmp_path / "b", 1, (80, 60))
    both = DetectionSplit([*wide.pages, *high.pages])
    (batch,) = Loader(BoxAssembly(both, SHORT), batch_size=2).epoch(0)
    assert batch.images.shape == (2, 3, 27, 40)
    assert batch.images[0, :, 20:].eq(0).all()
    assert batch.images[1, :, :, 20:].eq(0).all()
    assert batch.images[1, 0, 26, 0] == -0.5  # black, within the image


def test_augmentation_is_a_function_of_seed_epoch_and_index(tmp_path: Path) -> None:
    split = bright_box(tmp_path, 8)

    def images(epoch: int, **options) -> Tensor:
        loader = Loader(BoxAssembly(split, STRETCH, [mirrored]), seed=5, **options)
        batches = list(loader.epoch(epoch))
        for batch in batches:
            for image, objects in zip(batch.images, batch.labels, strict=True):
                assert (box_of_bright(image) - objects.boxes[0]).abs().max() <= 1
        order = torch.cat([batch.indices for batch in batches]).argsort()
        return torch.cat([batch.images for batch in batches])[order]

    one = images(0, batch_size=2)
    assert not torch.equal(one, images(1, batch_size=2))
    for options in ({"shuffle": True}, {"workers": 2}, {"memory_limit_bytes": 0}):
        assert torch.equal(one, images(0, batch_size=3, **options))


def test_an_epoch_goes_on_where_it_stopped(tmp_path: Path) -> None:
    loader = Loader(BoxAssembly(bright_box(tmp_path, 7), STRETCH, [mirrored]), batch_size=2, shuffle=True, seed=1)
    whole, rest = list(loader.epoch(3)), list(loader.epoch(3, start_step=2))
    assert [b.indices.tolist() for b in rest] == [b.indices.tolist() for b in whole[2:]]
    assert all(torch.equal(a.images, b.images) for a, b in zip(rest, whole[2:], strict=True))
    assert list(loader.epoch(3, start_step=4)) == []
    assert sorted(torch.cat([b.indices for b in whole]).tolist()) == list(range(7))


def test_two_processes_share_a_batch(tmp_path: Path) -> None:
    split = bright_box(tmp_path, 5)
    shares = [list(Loader(BoxAssembly(split, STRETCH), batch_size=4, share=(rank, 2)).epoch(0)) for rank in (0, 1)]
    assert [[b.indices.tolist() for b in batches] for batches in shares] == [[[0, 1], [4]], [[2, 3], []]]
    assert [[b.total for b in batches] for batches in shares] == [[4, 1], [4, 1]]
    assert shares[1][1].images.shape == (0, 3, 32, 32)


@pytest.mark.parametrize("limit", [1 << 20, 0])
def test_damaged_images_are_dropped_and_named(tmp_path: Path, limit: int) -> None:
    split = bright_box(tmp_path, 4)
    Path(split.paths[1]).write_bytes(b"\x89PNG\r\n\x1a\n torn")
    loader = Loader(BoxAssembly(split, STRETCH), batch_size=4, memory_limit_bytes=limit)
    assert len(split) == 3
    assert [Path(problem.path).name for problem in split.problems] == ["1.png"]
    assert len(next(loader.epoch(0)).labels) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_that_is_met_late_is_named_too(tmp_path: Path, workers: int) -> None:
    split = bright_box(tmp_path, 4)
    Path(split.paths[1]).write_bytes(b"torn")
    loader = Loader(BoxAssembly(split, STRETCH), batch_size=2, check=False, memory_limit_bytes=0, workers=workers)
    batches = list(loader.epoch(0))
    assert [(len(batch.labels), batch.total) for batch in batches] == [(1, 1), (2, 2)]
    assert [Path(problem.path).name for problem in split.problems] == ["1.png"]
    found = evaluate_detector(FindsBright(), loader, classes=("even", "odd"))
    assert found.curves[1].objects == 1  # of the images that can be read
    Path(split.paths[0]).write_bytes(b"torn")
    with pytest.raises(ConvatlasError, match="no image of a batch"):
        list(loader.epoch(0))


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    split = bright_box(tmp_path, 1)
    with pytest.raises(UsageError, match="batch_size is 0"):
        Loader(BoxAssembly(split, STRETCH), batch_size=0)
    with pytest.raises(ConvatlasError, match="no images"):
        Loader(BoxAssembly(DetectionSplit([]), STRETCH), batch_size=1)


@pytest.mark.parametrize("protocol", ["voc07", "voc10", "coco"])
def test_a_whole_pass(tmp_path: Path, protocol) -> None:
    split = bright_box(tmp_path, 6)
    net = FindsBright().train()
    loader = Loader(BoxAssembly(split, Preprocessing((48, 64), mean=(0.0,) * 3, std=(1.0,) * 3)), batch_size=4)
    found = evaluate_detector(net, loader, classes=("even", "odd"), protocol=protocol, with_loss=True)
    assert net.training
    # three of six answers are right, in the order right, wrong, right, wrong, ... : precision 1, 2/3, 3/5
    expected = (1 + 2 / 3 + 3 / 5) / 3
    if protocol == "voc10":
        assert found.ap.tolist() == [pytest.approx(expected), 0]
    assert found.mean_ap == pytest.approx(found.ap.mean().item())
    assert found.numbers["AP50"] == pytest.approx(expected / 2, abs=0.02)
    assert found.loss == pytest.approx((5 * 4 + 3 * 2) / 6)
    assert [one.boxes[0].tolist() for one in found.detections] == [
        o.boxes[0].tolist() for o in map(split.objects, range(6))
    ]


def test_a_pass_over_two_processes(tmp_path: Path) -> None:
    split = bright_box(tmp_path, 5)
    whole = evaluate_detector(FindsBright(), Loader(BoxAssembly(split, STRETCH), batch_size=4), classes=("even", "odd"))
    first = {0: whole.detections[0], 1: whole.detections[1], 4: whole.detections[4]}

    def gather(rows: Tensor) -> Tensor:  # adds what the other process has
        if rows.ndim == 2 and rows.shape[1] == 7:
            return torch.cat([rows, pack(first)])
        return torch.cat([rows, torch.tensor([0, 1, 4])]) if rows.ndim == 1 else torch.cat([rows, rows])

    loader = Loader(BoxAssembly(split, STRETCH), batch_size=4, share=(1, 2))
    found = evaluate_detector(FindsBright(), loader, classes=("even", "odd"), gather=gather)
    assert found.ap.tolist() == whole.ap.tolist()


def test_packing_is_undone() -> None:
    found = {3: Detections(torch.rand(2, 4), torch.tensor([1, 0]), torch.tensor([0.5, 0.25]))}
    back = unpack(pack(found))
    assert back[3].labels.tolist() == [1, 0]
    assert torch.equal(back[3].boxes, found[3].boxes)
    assert pack({}).shape == (0, 7)


def test_what_can_not_be_evaluated_is_refused(tmp_path: Path) -> None:
    split = bright_box(tmp_path, 3)
    loader = Loader(BoxAssembly(split, STRETCH), batch_size=2)
    with pytest.raises(UsageError, match="voc07, voc10, coco"):
        evaluate_detector(FindsBright(), loader, classes=("a",), protocol="voc12")  # pyright: ignore
    with pytest.raises(ConvatlasError, match="detects class 7"):
        evaluate_detector(FindsBright(7), loader, classes=("even", "odd"))
    with pytest.raises(UsageError, match="has no `detect`"):
        evaluate_detector(nn.Identity(), loader, classes=("even", "odd"))
    augmented = Loader(BoxAssembly(split, STRETCH, [mirrored]), batch_size=2)
    with pytest.raises(UsageError, match="augments"):
        evaluate_detector(FindsBright(), augmented, classes=("even", "odd"))
