"""Augmentations of marked images: by hand, by what they promise, and the same for the same generator."""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou, masks_to_boxes

from convatlas.data.detection.augment import (
    SSD_AUGMENTATION,
    YOLO_AUGMENTATION,
    ExposureSaturation,
    Mirror,
    SampledCrop,
    ScaleTranslate,
    ShuffleObjects,
    ZoomOut,
    scale_hsv,
)
from convatlas.data.detection.distort import SSDPhotometric
from convatlas.errors import UsageError
from convatlas.records import Objects

EVERY = (*SSD_AUGMENTATION, *YOLO_AUGMENTATION)
IDS = [type(step).__name__ for step in EVERY]


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene() -> tuple[Tensor, Objects]:
    """Two bright rectangles, of class 0 and 1, on a dark ground of 40 x 60 pixels, with their masks."""
    boxes = torch.tensor([[5, 4, 25, 16], [30, 18, 58, 38]])
    image, masks = torch.full((3, 40, 60), 20, dtype=torch.uint8), torch.zeros(2, 40, 60, dtype=torch.bool)
    for place, (left, top, right, bottom) in enumerate(boxes.tolist()):
        image[:, top:bottom, left:right] = 200
        masks[place, top:bottom, left:right] = True
    return image, Objects(boxes.float(), torch.tensor([0, 1]), torch.tensor([False, True]), masks)


@pytest.mark.parametrize("step", EVERY, ids=IDS)
def test_boxes_masks_and_pixels_move_together(step: Callable) -> None:
    changed = 0
    for seed in range(40):
        image, objects = step(*scene(), source(seed))
        assert image.dtype == torch.uint8
        assert objects.masks is not None
        assert objects.masks.shape == (len(objects.boxes), *image.shape[1:])
        assert len(objects.labels) == len(objects.difficult) == len(objects.boxes)
        changed += not torch.equal(image, scene()[0])
        for box, mask, label, difficult in zip(
            *map(list, (objects.boxes, objects.masks, objects.labels, objects.difficult)), strict=True
        ):
            assert difficult == (label == 1)
            edges = masks_to_boxes(mask[None])[0] + torch.tensor([0, 0, 1, 1])
            torch.testing.assert_close(box, edges)
            if not isinstance(step, (SSDPhotometric, ExposureSaturation)):
                assert (image[:, mask] == 200).all()
    assert changed > 10 or isinstance(step, ShuffleObjects)


@pytest.mark.parametrize("step", EVERY, ids=IDS)
def test_a_generator_decides_alone(step: Callable) -> None:
    torch.manual_seed(1)
    first = step(*scene(), source(3))
    torch.manual_seed(2)
    second = step(*scene(), source(3))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].boxes, second[1].boxes)
    state = torch.get_rng_state()
    step(*scene(), source(4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("step", EVERY, ids=IDS)
def test_a_image_without_objects_and_one_without_colours(step: Callable) -> None:
    none = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    for seed in range(5):
        image, objects = step(torch.full((1, 9, 7), 99, dtype=torch.uint8), none, source(seed))
        assert len(image) == 1
        assert objects.boxes.shape == (0, 4)
        assert objects.masks is None


@pytest.mark.parametrize("step", EVERY, ids=IDS)
def test_its_input_stays_as_it_was(step: Callable) -> None:
    image, objects = scene()
    for seed in range(5):
        step(image, objects, source(seed))
    assert torch.equal(image, scene()[0])
    assert torch.equal(objects.boxes, scene()[1].boxes)


def opencv_distortion(bgr: np.ndarray, draws: list[float]) -> np.ndarray:
    """What `ApplyDistort` of SSD's release makes of an image, all of it by OpenCV."""

    def converted(values: np.ndarray, factor: float, shift: float) -> np.ndarray:
        return cv2.addWeighted(values, factor, np.zeros_like(values), 0, shift)

    def in_hsv(image: np.ndarray, channel: int, factor: float, shift: float) -> np.ndarray:
        hsv = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)))
        hsv[channel] = converted(hsv[channel], factor, shift)
        return cv2.cvtColor(cv2.merge(hsv), cv2.COLOR_HSV2BGR)

    if draws[0] < 0.5:
        bgr = converted(bgr, 1, -32 + 64 * draws[4])
    if draws[1] < 0.5 and draws[8] < 0.5:
        bgr = converted(bgr, 0.5 + draws[5], 0)
    if draws[2] < 0.5:
        bgr = in_hsv(bgr, 1, 0.5 + draws[6], 0)
    if draws[3] < 0.5:
        bgr = in_hsv(bgr, 0, 1, -18 + 36 * draws[7])
    return converted(bgr, 0.5 + draws[5], 0) if draws[1] < 0.5 <= draws[8] else bgr


def test_ssds_distortions_are_the_releases_byte_for_byte() -> None:
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(60):
        rgb, draws = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8), rng.random(11).tolist()
        found = SSDPhotometric().change(torch.from_numpy(rgb).permute(2, 0, 1), draws).permute(1, 2, 0).numpy()
        wanted = opencv_distortion(np.ascontiguousarray(rgb[..., ::-1]), draws)[..., ::-1]
        np.testing.assert_array_equal(found, wanted)
        changed += not np.array_equal(found, rgb)
    assert changed > 40
    swapped = SSDPhotometric(probability=0, reorder=1).change(
        torch.arange(3, dtype=torch.uint8)[:, None, None], [0.99] * 11
    )
    assert swapped.flatten().tolist() == [2, 1, 0]


def test_a_cells_object_is_any_of_several() -> None:
    image, objects = scene()
    firsts = [ShuffleObjects()(image, objects, source(seed))[1].labels[0].item() for seed in range(200)]
    assert 70 < sum(firsts) < 130


def test_a_mirror_by_hand() -> None:
    image, objects = scene()
    turned, moved = Mirror(horizontal=1)(image, objects, source(0))
    assert torch.equal(turned, image.flip(2))
    assert moved.boxes.tolist() == [[35, 4, 55, 16], [2, 18, 30, 38]]
    turned, moved = Mirror(horizontal=0, vertical=1)(image, objects, source(0))
    assert torch.equal(turned, image.flip(1))
    assert moved.boxes.tolist() == [[5, 24, 25, 36], [30, 2, 58, 22]]


def test_zooming_out_puts_the_image_on_the_mean_colour() -> None:
    image, objects = scene()
    sides = []
    for seed in range(30):
        canvas, moved = ZoomOut(probability=1)(image, objects, source(seed))
        assert (canvas.shape[1] / 40, canvas.shape[2] / 60) == pytest.approx((canvas.shape[1] / 40,) * 2, abs=0.03)
        sides.append(canvas.shape[1])
        left, top = (moved.boxes[0, :2] - objects.boxes[0, :2]).long().tolist()
        assert torch.equal(canvas[:, top : top + 40, left : left + 60], image)
        canvas[:, top : top + 40, left : left + 60] = torch.tensor([123, 117, 104], dtype=torch.uint8)[:, None, None]
        assert canvas.flatten(1).amin(1).tolist() == canvas.flatten(1).amax(1).tolist() == [123, 117, 104]
    assert min(sides) < 60
    assert 120 < max(sides) <= 160
    assert ZoomOut(probability=0)(image, objects, source(0))[0] is image


def test_crops_overlap_some_object_by_what_was_asked() -> None:
    places, objects = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij"), scene()[1]
    image = torch.stack(places).to(torch.uint8)  # every pixel tells its row and column
    crop = SampledCrop(overlaps=(0.3,))
    whole = 0
    for seed in range(60):
        part, kept = crop(image, objects, source(seed))
        height, width = part.shape[1:]
        if (height, width) == (40, 60):
            whole += 1
            continue
        top, left = part[:, 0, 0].tolist()
        window = torch.tensor([[left, top, left + width, top + height]]).float()
        assert box_iou(window, objects.boxes).max() >= 0.3
        assert 0.3**2 * 0.9 <= height * width / 2400 <= 1
        centres = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
        inside = ((centres >= window[0, :2]) & (centres < window[0, 2:])).all(1)
        assert kept.labels.tolist() == objects.labels[inside].tolist()
    assert 15 < whole < 45  # about half: the one crop or the whole image


def test_edges_move_by_up_to_a_fifth() -> None:
    image, objects = scene()
    heights = []
    for seed in range(60):
        moved, kept = ScaleTranslate()(image, objects, source(seed))
        heights.append(moved.shape[1])
        assert kept.boxes.amin() >= 0
        assert kept.boxes[:, 2].max() <= moved.shape[2]
    assert 24 <= min(heights) < 34
    assert 46 < max(heights) <= 56


def test_slivers_of_objects_are_gone() -> None:
    wide = Objects(torch.tensor([[0.0, 0, 1, 100], [0, 0, 3, 100]]), torch.tensor([0, 1]), torch.zeros(2).bool())
    image = torch.zeros(1, 100, 200, dtype=torch.uint8)
    _, kept = ScaleTranslate(most=0)(image, wide, source(0))
    assert kept.labels.tolist() == [1]  # one pixel of 200 is less than a hundredth


@pytest.mark.parametrize(("saturation", "value"), [(1.4, 0.7), (0.7, 1.5), (1.5, 1.5), (1, 1)])
def test_hsv_as_colorsys_has_it(saturation: float, value: float) -> None:
    image = torch.randint(0, 256, (3, 1, 200), dtype=torch.uint8, generator=source(0))
    expected = []
    for red, green, blue in (image[:, 0].T / 255).tolist():
        h, s, v = colorsys.rgb_to_hsv(red, green, blue)
        s, v = s * saturation, v * value
        whole = h * 6 % 6
        chroma = [max(0, min(abs((whole + shift) % 6 - 3) - 1, 1)) for shift in (0, 4, 2)]
        expected.append([min(max(v * (1 - s * (1 - c)), 0), 1) * 255 for c in chroma])
    found = scale_hsv(image, saturation, value)[:, 0].T.float()
    assert (found - torch.tensor(expected)).abs().max() <= 0.51


def test_senseless_amounts_are_refused() -> None:
    for make, message in (
        (lambda: ZoomOut(largest=0.5), r"largest is 0\.5"),
        (lambda: SampledCrop(scale=(0.5, 0.3)), "scale is"),
        (lambda: ScaleTranslate(most=0.5), r"most is 0\.5"),
        (lambda: ExposureSaturation(most=0.9), r"most is 0\.9"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
