"""Faster R-CNN: its anchors, what they learn from, and the proposals they become."""

import math

import pytest
import torch
from torch import Tensor

from convatlas import registry
from convatlas.architectures.classification.squeezenet import SqueezeNetV11
from convatlas.architectures.detection.faster_rcnn import FasterOutputs, FasterRCNN
from convatlas.blocks.within_channel import WithinChannelNorm
from convatlas.errors import UsageError
from convatlas.ops.anchors import (
    AnchorOutputs,
    AnchorTargets,
    anchor_losses,
    base_anchors,
    grid_anchors,
    propose,
    sample_anchors,
)
from convatlas.ops.boxes import encode
from convatlas.records import Objects

# The release's anchors.mat, whose pixels are counted from 1 and whose last pixel belongs to the box.
PUBLISHED = [
    (-83, -39, 100, 56),
    (-175, -87, 192, 104),
    (-359, -183, 376, 200),
    (-55, -55, 72, 72),
    (-119, -119, 136, 136),
    (-247, -247, 264, 264),
    (-35, -79, 52, 96),
    (-79, -167, 96, 184),
    (-167, -343, 184, 360),
]
NAMES = ("faster_rcnn_vgg16", "faster_rcnn_zf", "faster_rcnn_squeezenet")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def objects(boxes: list[list[float]], difficult: list[bool] | None = None) -> Objects:
    hard = torch.tensor(difficult or [False] * len(boxes), dtype=torch.bool)
    return Objects(torch.tensor(boxes).float().reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.int64), hard)


def test_the_nine_anchors_are_the_published() -> None:
    assert base_anchors().tolist() == [[x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in PUBLISHED]


def test_anchors_lie_on_the_grid_cell_by_cell() -> None:
    grid = grid_anchors(base_anchors(), (2, 3), stride=16)
    assert grid.shape == (2 * 3 * 9, 4)
    assert torch.equal(grid[9 * 4 :][:9], base_anchors() + torch.tensor([16, 16, 16, 16]))  # row 1, column 1


def test_anchors_of_a_image_of_the_paper() -> None:
    """Some 20,000 on 1000 x 600 pixels, of which some 6,000 do not cross the border (section 3.1.2)."""
    grid = grid_anchors(base_anchors(), (38, 63), stride=16)
    assert len(grid) == 21_546
    inside = (grid[:, :2] >= 0).all(1) & (grid[:, 2] <= 1000) & (grid[:, 3] <= 600)
    assert 5_500 < inside.sum() < 8_500


def test_outputs_are_read_cell_by_cell() -> None:
    scores = torch.arange(2 * 2 * 3 * 4).reshape(1, 4, 3, 4).float()  # two anchors: bg, bg, object, object
    codes = torch.arange(8 * 12).reshape(1, 8, 3, 4).float()
    flat_scores, flat_codes = AnchorOutputs(scores, codes).flat()
    cell = 1 * 4 + 2  # row 1, column 2
    assert flat_scores[0, 2 * cell + 1].tolist() == [scores[0, 1, 1, 2], scores[0, 3, 1, 2]]
    assert flat_codes[0, 2 * cell + 1].tolist() == codes[0, 4:, 1, 2].tolist()


def test_anchors_across_the_border_are_left_out() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [-1, 0, 9, 10], [10, 10, 20, 21], [10, 10, 20, 20]])
    chosen = sample_anchors(anchors, objects([[0, 0, 10, 10]]), (20, 20))
    assert chosen.places.tolist() == [0, 3]
    assert chosen.objects.tolist() == [1, 0]
    assert chosen.codes.tolist() == [[0, 0, 0, 0]] * 2


def test_half_of_the_anchors_may_be_objects() -> None:
    anchors = torch.tensor([[0.0, 0, 100, 100]] * 200 + [[200, 200, 300, 300]] * 300)
    chosen = sample_anchors(anchors, objects([[0, 0, 100, 90]]), (300, 300))
    assert chosen.objects.tolist() == [1] * 128 + [0] * 128
    assert len(set(chosen.places.tolist())) == 256
    torch.testing.assert_close(chosen.codes[0], encode(torch.tensor([0.0, 0, 100, 90]), anchors[0]))


def test_difficult_objects_make_no_anchor_positive() -> None:
    chosen = sample_anchors(torch.tensor([[0.0, 0, 10, 10]]), objects([[0, 0, 10, 10]], [True]), (10, 10))
    assert chosen.objects.tolist() == []


def test_anchors_in_a_crowd_are_neither_object_nor_background() -> None:
    inside = [[float(10 * i), 10.0, 10.0 * i + 20, 30.0] for i in range(8)]  # an IoU of some 0.04 with the crowd
    anchors = torch.tensor([*inside, [150.0, 150, 170, 170], [0.0, 160, 20, 180]])
    truth = objects([[0, 0, 100, 100], [0, 160, 20, 180]], [True, False])
    chosen = sample_anchors(anchors, truth, (200, 200))
    assert chosen.places.tolist() == [9, 8]
    assert chosen.objects.tolist() == [1, 0]


def outputs_for(scores: list[float], codes: Tensor | None = None) -> AnchorOutputs:
    """One cell, an anchor for each logit of "object"; the background's is 0."""
    logits = torch.tensor([0.0] * len(scores) + scores).reshape(1, -1, 1, 1)
    return AnchorOutputs(logits, torch.zeros(1, 4 * len(scores), 1, 1) if codes is None else codes)


def test_the_anchor_losses_by_hand() -> None:
    outputs = outputs_for([0.0, 1.0, 5.0])
    targets = AnchorTargets(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([[0.1, 1.0, 0, 0], [7.0] * 4]))
    losses = anchor_losses(outputs, [targets])
    assert losses["anchor_classes"].item() == pytest.approx((math.log(2) + math.log(1 + math.e)) / 2)
    # |x| < 1/9: 4.5 x^2; else |x| - 1/18
    assert losses["anchor_boxes"].item() == pytest.approx((4.5 * 0.01 + 1 - 1 / 18) / 2)


def test_proposals_by_hand() -> None:
    anchors = torch.tensor([[0.0, 0, 40, 40], [0, 0, 40, 38], [50, 50, 90, 90], [0, 0, 15, 60], [80, 80, 140, 140]])
    (found,) = propose(outputs_for([1.0, 3.0, 2.0, 9.0, 0.0]), anchors, (100, 100), before=6000, after=300)
    # The fourth is too narrow; the first overlaps the second with 0.95; the last is cut to the image.
    assert found.tolist() == [[0, 0, 40, 38], [50, 50, 90, 90], [80, 80, 100, 100]]
    (one,) = propose(outputs_for([1.0, 3.0, 2.0, 9.0, 0.0]), anchors, (100, 100), before=6000, after=1)
    assert one.tolist() == [[0, 0, 40, 38]]
    (two,) = propose(outputs_for([1.0, 3.0, 2.0, 9.0, 0.0]), anchors, (100, 100), before=2, after=300, iou_above=1)
    assert two.tolist() == [[0, 0, 40, 38], [50, 50, 90, 90]]


def test_normalisation_within_a_map_by_hand() -> None:
    x = torch.zeros(1, 2, 4, 4)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 300.0, 600.0
    wanted = 300 / (1 + 5e-5 * (300**2 + 600**2) / 9) ** 0.75  # two pixels of nine, five of which are outside
    assert WithinChannelNorm()(x)[0, 0, 0, 0].item() == pytest.approx(wanted)
    assert WithinChannelNorm()(x)[0, 1].count_nonzero() == 0


@pytest.mark.parametrize("name", NAMES)
def test_shapes_of_the_published(name: str) -> None:
    with torch.device("meta"):
        outputs = registry.build(name, num_classes=4)(torch.empty(2, 3, 320, 480))
    assert isinstance(outputs, FasterOutputs)
    height, width = outputs.anchor_scores.shape[2:]
    assert (height, width) in ((20, 30), (21, 31))
    assert outputs.anchor_scores.shape[1] == 18
    assert outputs.anchor_codes.shape == (2, 36, height, width)
    assert outputs.scores.shape == (2, 5)
    assert outputs.codes.shape == (2, 20)


def squeezenet(num_classes: int = 3) -> FasterRCNN:
    net = registry.build("faster_rcnn_squeezenet", num_classes=num_classes)
    assert isinstance(net, FasterRCNN)
    return net


def test_a_gradient_reaches_every_parameter() -> None:
    net = squeezenet()
    targets = [objects([[20, 20, 90, 100]]), objects([])]
    losses = net.losses(torch.randn(2, 3, 128, 160), targets)
    assert set(losses) == {"anchor_classes", "anchor_boxes", "classes", "boxes"}
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_image_too_small_for_anchors_still_learns_its_regions() -> None:
    losses = squeezenet().losses(torch.randn(1, 3, 40, 40), [objects([[5, 5, 30, 30]])])
    assert losses["anchor_classes"].item() == losses["anchor_boxes"].item() == 0
    assert losses["classes"].item() > 0


def test_a_trained_classifier_is_taken_over() -> None:
    net, classifier = squeezenet(), SqueezeNetV11(num_classes=5)
    theirs = classifier.state_dict()
    copied = net.start_from(theirs)
    assert copied == tuple(name for name in theirs if not name.startswith("conv10."))
    assert all(torch.equal(net.state_dict()[name], theirs[name]) for name in copied)
    own = {name for name in net.state_dict() if name.startswith((*net.own_layers, "cls_score.", "bbox_pred."))}
    assert own == net.state_dict().keys() - set(copied)


def test_weights_without_a_layer_of_the_map_are_refused() -> None:
    net, theirs = squeezenet(), SqueezeNetV11(num_classes=5).state_dict()
    before = net.get_submodule("conv1").get_parameter("weight").clone()
    del theirs["fire9.expand3x3.bias"]
    with pytest.raises(UsageError, match=r"the weights have no fire9\.expand3x3\.bias; expected all layers of the map"):
        net.start_from(theirs)
    assert torch.equal(net.get_submodule("conv1").get_parameter("weight"), before)


def test_fully_connected_layers_come_along_where_they_fit() -> None:
    with torch.device("meta"):
        net, classifier = registry.build("faster_rcnn_zf"), registry.build("zfnet")
    assert isinstance(net, FasterRCNN)
    assert {"conv1.weight", "fc6.weight", "fc7.bias"} < set(net.start_from(classifier.state_dict()))
    assert net.own_layers == ("rpn_",)
