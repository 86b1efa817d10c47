"""Boxes: codes, matches, negatives and suppression, by hand and beside torchvision where the rule is the same."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import _utils as torchvision_boxes
from torchvision.ops import box_iou

from convatlas.errors import UsageError
from convatlas.ops.boxes import (
    BACKGROUND,
    LARGEST_LOG_SCALE,
    NEITHER,
    SSD_VARIANCES,
    decode,
    encode,
    hard_negatives,
    match_anchors,
    match_default_boxes,
    paired_iou,
    suppress,
)


def some_boxes(count: int, seed: int = 0) -> Tensor:
    corners = 200 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    sizes = 10 + 100 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1))
    return torch.cat([corners, corners + sizes], 1)


def test_a_box_twice_as_wide_and_moved_by_half_a_width() -> None:
    references = torch.tensor([[10.0, 20, 30, 60]])  # centre 20, 40; 20 x 40
    boxes = torch.tensor([[10.0, 30, 50, 70]])  # centre 30, 50; 40 x 40
    torch.testing.assert_close(encode(boxes, references), torch.tensor([[0.5, 0.25, math.log(2), 0]]))
    coded = torch.tensor([[5, 2.5, 5 * math.log(2), 0]])
    torch.testing.assert_close(encode(boxes, references, variances=SSD_VARIANCES), coded)
    torch.testing.assert_close(decode(coded, references, variances=SSD_VARIANCES), boxes)


def test_codes_are_those_of_torchvision() -> None:
    boxes, references = some_boxes(50), some_boxes(50, seed=9)
    coder = torchvision_boxes.BoxCoder((10.0, 10.0, 5.0, 5.0))
    codes = encode(boxes, references, variances=SSD_VARIANCES)
    torch.testing.assert_close(codes, coder.encode_single(boxes, references))
    noisy = codes + torch.randn(50, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        decode(noisy, references, variances=SSD_VARIANCES), coder.decode_single(noisy, references)
    )


def test_codes_of_each_class_share_their_references() -> None:
    references, codes = some_boxes(3), torch.randn(3, 5, 4)
    boxes = decode(codes, references[:, None])
    assert boxes.shape == (3, 5, 4)
    torch.testing.assert_close(boxes[:, 2], decode(codes[:, 2], references))


def test_overlaps_of_pairs() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]])
    others = torch.tensor([[5.0, 0, 15, 10], [20, 0, 30, 10], [5, 5, 5, 5]])
    torch.testing.assert_close(paired_iou(boxes, others), torch.tensor([1 / 3, 0, 0]))
    some, more = some_boxes(9), some_boxes(9, seed=4)
    torch.testing.assert_close(paired_iou(some, more), box_iou(some, more).diagonal())


def test_no_size_explodes() -> None:
    boxes = decode(torch.tensor([[0.0, 0, 1000, 1000]]), torch.tensor([[0.0, 0, 16, 16]]))
    torch.testing.assert_close(boxes[0, 2:] - boxes[0, :2], torch.tensor([1000.0, 1000.0]))
    assert math.exp(LARGEST_LOG_SCALE) == pytest.approx(62.5)


def test_ssd_matches_every_object_and_all_default_boxes_that_overlap_one() -> None:
    overlaps = torch.tensor(
        [
            [0.6, 0.2, 0.5, 0.0, 0.0],
            [0.7, 0.3, 0.4, 0.0, 0.1],
        ]
    )
    # The pair of largest IoU goes first: object 1 takes box 0. Object 0 then takes box 2, its best free one.
    assert match_default_boxes(overlaps).tolist() == [1, BACKGROUND, 0, BACKGROUND, BACKGROUND]
    assert match_default_boxes(overlaps, threshold=0.3).tolist() == [1, 1, 0, BACKGROUND, BACKGROUND]


def test_ssd_gives_no_default_box_to_an_object_without_area() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    objects = torch.tensor([[5.0, 5, 5, 9], [0, 0, 9, 9]])
    assert match_default_boxes(box_iou(objects, boxes)).tolist() == [1, BACKGROUND]
    assert match_anchors(box_iou(objects, boxes)).tolist() == [1, BACKGROUND]


def test_nothing_marked_is_all_background() -> None:
    assert match_default_boxes(torch.zeros(0, 3)).tolist() == [BACKGROUND] * 3
    assert match_anchors(torch.zeros(0, 3)).tolist() == [BACKGROUND] * 3


def test_ssd_matches_as_torchvision_where_no_two_objects_want_the_same_box() -> None:
    boxes = some_boxes(300, seed=20)
    objects = boxes[::60] + torch.tensor([1.0, 2, 3, -4])
    overlaps = box_iou(objects, boxes)
    assert len(set(overlaps.argmax(1).tolist())) == 5
    assert torch.equal(match_default_boxes(overlaps), torchvision_boxes.SSDMatcher(0.5)(overlaps))


def test_anchors_are_positive_negative_or_neither() -> None:
    overlaps = torch.tensor(
        [
            [0.8, 0.7, 0.5, 0.2, 0.29, 0.3],
            [0.1, 0.0, 0.45, 0.4, 0.0, 0.45],
        ]
    )
    # Boxes 2 and 5 are the best of object 1; box 2 overlaps object 0 more, and so is of that one.
    assert match_anchors(overlaps).tolist() == [0, 0, 0, NEITHER, BACKGROUND, 1]
    with pytest.raises(UsageError, match=r"negative is 0\.8"):
        match_anchors(overlaps, negative=0.8)


def test_anchors_match_as_in_torchvision() -> None:
    overlaps = box_iou(some_boxes(6), some_boxes(400, seed=5))
    assert overlaps.amax(1).min() > 0
    matcher = torchvision_boxes.Matcher(0.7, 0.3, allow_low_quality_matches=True)
    assert torch.equal(match_anchors(overlaps), matcher(overlaps))


def test_three_of_the_hardest_negatives_for_each_positive() -> None:
    losses = torch.tensor([[9.0, 1, 5, 3, 4, 2], [9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6]])
    positive = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0]], dtype=torch.bool)
    chosen = [[0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1]]
    assert hard_negatives(losses, positive).int().tolist() == chosen
    assert hard_negatives(losses, positive, ratio=1).int().tolist()[0] == [0, 0, 1, 0, 0, 0]


def test_suppression_keeps_the_most_certain_of_each_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 5]])
    scores = torch.tensor([[0.8, 0.3], [0.9, 0.2], [0.5, 0.01], [0.7, 0.0]])
    found = suppress(boxes, scores, score_above=0.01, iou_above=0.5, most=10)
    assert found.labels.tolist() == [0, 0, 1]  # boxes 0 and 3 overlap box 1 by 9/10 and 5/9
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.5, 0.3]))
    torch.testing.assert_close(found.boxes, boxes[[1, 2, 0]])


def test_at_most_so_many_detections_in_all_and_candidates_of_a_class() -> None:
    boxes = torch.tensor([[10.0 * i, 0, 10 * i + 9, 9] for i in range(5)])
    scores = torch.tensor([[0.1, 0.5], [0.2, 0.4], [0.3, 0.3], [0.4, 0.2], [0.5, 0.1]])
    assert suppress(boxes, scores, score_above=0, iou_above=0.5, most=3).scores.tolist() == pytest.approx(
        [0.5, 0.5, 0.4]
    )
    found = suppress(boxes, scores, score_above=0, iou_above=0.5, most=9, most_per_class=1)
    assert sorted(zip(found.labels.tolist(), found.boxes[:, 0].tolist(), strict=True)) == [(0, 40), (1, 0)]


def test_boxes_of_each_class_are_suppressed_apart() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 30, 30]], [[0, 0, 10, 9], [0, 0, 9, 9]]])
    found = suppress(boxes, torch.tensor([[0.9, 0.6], [0.8, 0.7]]), score_above=0.5, iou_above=0.5, most=10)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.boxes.tolist() == [[0, 0, 10, 10], [0, 0, 9, 9], [20, 20, 30, 30]]


def test_boxes_beyond_the_corner_suppress_none_of_another_class() -> None:
    boxes = torch.tensor([[100.0, 0, 200, 10], [-101, -201, -1, -191]])  # the second, moved by 201, is the first
    found = suppress(boxes, torch.tensor([[0.9, 0.0], [0.0, 0.8]]), score_above=0.1, iou_above=0.5)
    assert found.labels.tolist() == [0, 1]


def test_nothing_certain_is_an_empty_result() -> None:
    found = suppress(some_boxes(4), torch.zeros(4, 3), score_above=0.5, iou_above=0.5, most=10)
    assert (found.boxes.shape, found.labels.dtype, found.scores.shape) == ((0, 4), torch.int64, (0,))
