"""Regions of an image: pooled as the release rounds, chosen as the paper says, and their loss by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convatlas.blocks.roi_pool import RoIMaxPool
from convatlas.ops.regions import Regions, lie_in_difficult, region_losses, sample_regions, whole_image
from convatlas.ops.selective_search import selective_search
from convatlas.records import Objects

NEAREST = torch.zeros(2, dtype=torch.int64)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def objects(*boxes: tuple[float, ...], labels: tuple[int, ...] = (), difficult: tuple[int, ...] = ()) -> Objects:
    numbers = torch.tensor(labels or [0] * len(boxes), dtype=torch.int64)
    hard = torch.tensor([i in difficult for i in range(len(boxes))], dtype=torch.bool)
    return Objects(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), numbers, hard)


def test_a_region_is_pooled_by_hand() -> None:
    features = torch.arange(20.0).reshape(1, 1, 4, 5)
    # Pixels 16 to 63 and 0 to 31: cells 1 to 4 and 0 to 2, for 31 / 16 is rounded to 2, and 63 / 16 to 4.
    (pooled,) = RoIMaxPool(2, stride=16)(features, [torch.tensor([[16.0, 0, 64, 32]])])
    # Columns 1-2 and 3-4; rows of 1.5 cells: 0 and 1, then 1 and 2, which overlap.
    assert pooled.tolist() == [[[7.0, 9.0], [12.0, 14.0]]]


def caffe_roi_pool(features: np.ndarray, box: tuple[int, ...], bins: int, scale: float) -> np.ndarray:
    """The release's layer in plain loops, for inclusive pixels; C's round() goes away from zero."""
    x1, y1, x2, y2 = (math.floor(v * scale + 0.5) for v in box)
    sides = max(y2 - y1 + 1, 1) / bins, max(x2 - x1 + 1, 1) / bins
    out = np.zeros((features.shape[0], bins, bins), dtype=np.float32)
    for row in range(bins):
        for column in range(bins):
            top, bottom = math.floor(row * sides[0]) + y1, math.ceil((row + 1) * sides[0]) + y1
            left, right = math.floor(column * sides[1]) + x1, math.ceil((column + 1) * sides[1]) + x1
            window = features[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            if window.size:
                out[:, row, column] = window.max((1, 2))
    return out


def test_regions_are_pooled_as_in_the_release() -> None:
    features = torch.randn(2, 3, 12, 17)
    corners = torch.randint(0, 150, (2, 30, 2))
    boxes = torch.cat([corners, corners + torch.randint(1, 120, (2, 30, 2))], 2)
    pooled = RoIMaxPool(7, stride=16)(features, [boxes[0].float(), boxes[1].float()])
    for image in range(2):
        for place, box in enumerate(boxes[image].tolist()):
            wanted = caffe_roi_pool(features[image].numpy(), (box[0], box[1], box[2] - 1, box[3] - 1), 7, 1 / 16)
            np.testing.assert_array_equal(pooled[30 * image + place].numpy(), wanted)


def test_the_whole_image_is_its_whole_map() -> None:
    features = torch.randn(1, 2, 38, 63)
    (boxes,) = whole_image(torch.empty(1, 3, 600, 1000))
    assert boxes.tolist() == [[0, 0, 1000, 600]]
    torch.testing.assert_close(RoIMaxPool(7, stride=16)(features, [boxes]), F.adaptive_max_pool2d(features, 7))


def test_a_quarter_of_the_regions_are_objects() -> None:
    truth = objects((0, 0, 100, 100), labels=(4,))
    near = torch.tensor([[0.0, 0, 100, 60 + i] for i in range(30)])  # IoU 0.6 and more
    far = torch.tensor([[0.0, 0, 100, 11 + i / 4] for i in range(80)])  # IoU 0.11 to 0.31
    unseen = torch.tensor([[0.0, 0, 100, 9], [200, 200, 300, 300]])  # IoU 0.09 and 0
    found = sample_regions(torch.cat([near, far, unseen]), truth)
    assert found.classes.tolist() == [5] * 16 + [0] * 48
    assert found.boxes[:16, 3].min() >= 60
    assert found.boxes[16:, 3].min() >= 11
    assert found.boxes[16:, 3].max() < 50
    assert found.codes[16:].count_nonzero() == 0


def test_iou_of_one_half_is_an_object_and_one_tenth_background() -> None:
    truth = objects((0, 0, 10, 10))
    found = sample_regions(torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 1]]), truth)
    assert sorted(found.boxes[found.classes == 1, 3].tolist()) == [5, 10]  # the object itself too
    assert found.boxes[found.classes == 0, 3].tolist() == [1]


def test_codes_by_hand() -> None:
    found = sample_regions(torch.tensor([[0.0, 0, 20, 10]]), objects((2, 0, 22, 10)))
    row = (found.boxes[:, 0] == 0).nonzero().item()
    assert found.codes[row].tolist() == pytest.approx([2 / 20 / 0.1, 0, 0, 0])


def test_difficult_objects_are_neither_taught_nor_shunned() -> None:
    truth = objects((0, 0, 10, 10), (50, 50, 60, 60), difficult=(1,))
    found = sample_regions(torch.tensor([[50.0, 50, 60, 60]]), truth)
    assert found.boxes.tolist() == [[0, 0, 10, 10]]


CROWD = objects((0, 0, 10, 10), (100, 100, 300, 300), difficult=(1,))


def test_what_lies_mostly_in_a_crowd_is_told_by_its_own_area() -> None:
    boxes = torch.tensor([
        [120.0, 120, 140, 140],  # an IoU of 0.01 with the crowd, and all of it inside
        [90, 120, 130, 140],  # three quarters inside
        [86, 120, 106, 140],  # 30 %
        [0, 0, 400, 400],  # around it: a quarter of its area is crowd
        [0, 0, 10, 10],  # in an object that is none
        [150, 150, 150, 150],  # without area
    ])  # fmt: skip
    assert lie_in_difficult(boxes, CROWD).tolist() == [True, True, False, False, False, False]
    assert lie_in_difficult(boxes[:2], objects((0, 0, 300, 300))).tolist() == [False, False]
    assert lie_in_difficult(boxes[:0], CROWD).tolist() == []


def test_regions_in_a_crowd_are_no_background() -> None:
    inside = torch.tensor([[100.0 + 5 * i, 120, 120 + 5 * i, 140] for i in range(30)])
    outside = torch.tensor([[400.0, 400, 420, 420]])
    found = sample_regions(torch.cat([inside, outside]), CROWD, background_iou=(0.0, 0.5))
    assert found.boxes[found.classes == 0].tolist() == outside.tolist()
    assert found.boxes[found.classes > 0].tolist() == [[0, 0, 10, 10]]


def test_an_object_inside_a_crowd_is_still_learned() -> None:
    truth = objects((120, 120, 160, 160), (100, 100, 300, 300), difficult=(1,))
    found = sample_regions(torch.tensor([[121.0, 120, 160, 160], [200, 200, 220, 220]]), truth)
    assert sorted(found.boxes.tolist()) == [[120, 120, 160, 160], [121, 120, 160, 160]]
    assert found.classes.tolist() == [1, 1]


def test_a_image_without_objects_gives_background_where_the_range_begins_at_0() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    assert len(sample_regions(boxes, objects()).boxes) == 0
    assert sample_regions(boxes, objects(), background_iou=(0.0, 0.5)).classes.tolist() == [0]


def test_the_multi_task_loss_by_hand() -> None:
    regions = Regions(
        torch.zeros(2, 4), torch.tensor([2, 0]), torch.tensor([[0.5, 0, 3, 0], [9, 9, 9, 9]]), NEAREST[:2]
    )
    scores = torch.zeros(2, 3)
    losses = region_losses(scores, torch.zeros(2, 12), [regions])
    assert losses["classes"].item() == pytest.approx(math.log(3))
    assert losses["boxes"].item() == pytest.approx((0.125 + 2.5) / 2)  # background has no box; 2 regions


def test_only_the_box_of_the_right_class_learns() -> None:
    codes = torch.zeros(1, 12, requires_grad=True)
    regions = Regions(torch.zeros(1, 4), torch.tensor([1]), torch.ones(1, 4), NEAREST[:1])
    region_losses(torch.zeros(1, 3), codes, [regions])["boxes"].backward()
    assert codes.grad is not None
    assert codes.grad.nonzero()[:, 1].tolist() == [4, 5, 6, 7]


def test_no_region_is_no_loss() -> None:
    nothing = Regions(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), NEAREST[:0])
    losses = region_losses(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 12), [nothing])
    assert [loss.item() for loss in losses.values()] == [0, 0]


def squares() -> torch.Tensor:
    image = torch.zeros(3, 120, 160)
    image[0, 20:60, 30:90] = 255
    image[1, 70:110, 100:150] = 200
    return image


def test_selective_search_finds_two_plain_rectangles() -> None:
    boxes = selective_search(squares())
    for wanted in ([30, 20, 90, 60], [100, 70, 150, 110]):
        assert (boxes - torch.tensor(wanted)).abs().amax(1).min() <= 2
    assert len(boxes.unique(dim=0)) == len(boxes)
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 20


def test_selective_search_is_the_same_for_a_normalised_image() -> None:
    normalised = (squares() - 100) / 58
    assert torch.equal(selective_search(normalised), selective_search(squares()))
