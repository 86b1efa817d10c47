"""Mask R-CNN: its pyramid, its anchors, its masks by hand, and torchvision's outputs from the same layers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign

from convatlas import data, registry
from convatlas.architectures.classification.resnet import resnet50
from convatlas.architectures.detection.instance_masks import mask_loss, mask_targets, paste
from convatlas.architectures.detection.mask_rcnn import MaskOutputs, MaskRCNN
from convatlas.blocks.feature_pyramid import FeaturePyramid, RoIAlign, align_on_levels, level_of, level_of_image
from convatlas.data import Loader
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.errors import ConvatlasError, UsageError
from convatlas.ops.anchors import AnchorOutputs, LevelOutputs, propose_on_levels
from convatlas.ops.regions import Regions
from convatlas.records import Objects, Preprocessing

NAME = "mask_rcnn_resnet50_fpn"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def objects(boxes: list[list[float]], masks: torch.Tensor | None) -> Objects:
    plain = torch.zeros(len(boxes), dtype=torch.int64)
    return Objects(torch.tensor(boxes).float().reshape(-1, 4), plain, plain.bool(), masks)


def test_shapes_of_the_published() -> None:
    with torch.device("meta"):
        net = registry.build(NAME, num_classes=4)
        outputs = net(torch.empty(2, 3, 256, 320))
    assert isinstance(outputs, MaskOutputs)
    anchors = 3 * sum((64 // s) * (80 // s) for s in (1, 2, 4, 8, 16))
    assert outputs.anchor_logits.shape == (2, anchors)
    assert outputs.anchor_codes.shape == (2, anchors, 4)
    assert (outputs.scores.shape, outputs.codes.shape) == ((2, 5), (2, 20))
    assert outputs.masks.shape == (2, 5, 28, 28)


def test_the_card_says_that_it_learns_from_masks() -> None:
    assert [name for name in registry.names("detection") if registry.card(name).traits.wants_masks] == [NAME]


def test_what_is_fixed_and_what_learns() -> None:
    with torch.device("meta"):
        net = registry.build(NAME)
    assert not [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    still = {name.partition(".")[0] for name, p in net.named_parameters() if not p.requires_grad}
    assert still == {"conv1", "conv2_x"}


def test_levels_by_hand() -> None:
    sides = [223.0, 224, 447, 448, 111, 30, 2000]
    assert level_of(torch.tensor([[0, 0, side, side] for side in sides])).tolist() == [3, 4, 4, 5, 2, 2, 5]
    assert [level_of_image((int(side), int(side))) for side in sides] == [3, 4, 4, 5, 2, 2, 5]


def test_anchors_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        net = MaskRCNN(num_classes=1)
    grids = net.anchors([torch.empty(1, 1, side, side) for side in (16, 8, 4, 2, 1)])
    assert [len(grid) for grid in grids] == [3 * side * side for side in (16, 8, 4, 2, 1)]
    for grid, side in zip(grids, (32, 64, 128, 256, 512), strict=True):
        sizes = (grid[:3, 2:] - grid[:3, :2]).tolist()
        assert sizes[1] == [side, side]
        ratios = [height / width for width, height in sizes]
        assert ratios == pytest.approx([0.5, 1, 2], rel=0.1)
        assert [w * h for w, h in sizes] == pytest.approx([side * side] * 3, rel=0.15)


def test_proposals_of_two_levels_by_hand() -> None:
    def level(logits: list[float]) -> AnchorOutputs:
        scores = torch.tensor([0.0] * len(logits) + logits).reshape(1, -1, 1, 1)
        return AnchorOutputs(scores, torch.zeros(1, 4 * len(logits), 1, 1))

    fine = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    coarse = torch.tensor([[0.0, 0, 10, 10]])
    outputs = LevelOutputs((level([1.0, 2.0, 0.0]), level([3.0])))
    (found,) = propose_on_levels(outputs, [fine, coarse], (100, 100), before=100, after=100)
    # The first is suppressed by its neighbour; the same box of the other level stays.
    assert found.tolist() == [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]
    (one,) = propose_on_levels(outputs, [fine, coarse], (100, 100), before=1, after=100)
    assert one.tolist() == [[0, 0, 10, 10], [0, 0, 10, 9]]
    (best,) = propose_on_levels(outputs, [fine, coarse], (100, 100), before=100, after=1)
    assert best.tolist() == [[0, 0, 10, 10]]


def test_the_pyramid_is_torchvisions() -> None:
    ours, theirs = FeaturePyramid((3, 5, 7, 9), width=8), FeaturePyramidNetwork([3, 5, 7, 9], 8)
    for place in range(4):
        for mine, other in (("lateral", theirs.inner_blocks), ("output", theirs.layer_blocks)):
            ours.get_submodule(f"{mine}{place + 2}").load_state_dict(other[place][0].state_dict())
    stages = [torch.randn(2, c, *size) for c, size in ((3, (20, 13)), (5, (10, 7)), (7, (5, 4)), (9, (3, 2)))]
    levels = ours(stages)
    for mine, other in zip(levels, theirs({str(i): x for i, x in enumerate(stages)}).values(), strict=False):
        torch.testing.assert_close(mine, other)
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])


def test_regions_are_aligned_as_torchvision_does() -> None:
    levels = [torch.randn(2, 4, 128 // s, 160 // s) for s in (1, 2, 4, 8)]
    corners = torch.rand(2, 40, 2) * 300
    boxes = [torch.cat([c, c + torch.rand(40, 2) * 500 + 1], 1) for c in corners]
    boxes[1] = boxes[1][:7]
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, sampling_ratio=2)
    wanted = theirs({str(i): x for i, x in enumerate(levels)}, boxes, [(512, 640)] * 2)
    torch.testing.assert_close(align_on_levels(RoIAlign(7), levels, boxes), wanted)


def test_a_regions_mask_by_hand() -> None:
    mask = torch.zeros(1, 56, 84, dtype=torch.bool)
    mask[0, 28:, :42] = True
    nothing = torch.zeros_like(mask)
    truth = Objects(
        torch.zeros(3, 4),
        torch.zeros(3).long(),
        torch.tensor([True, False, False]),
        torch.cat([nothing, nothing, mask]),
    )
    regions = Regions(
        torch.tensor([[0.0, 0, 56, 56], [0, 0, 5, 5], [14, 28, 70, 56]]),
        torch.tensor([1, 0, 1]),
        torch.zeros(3, 4),
        torch.tensor([1, 0, 1]),  # of the objects that are not difficult
    )
    first, second = mask_targets(regions, truth)
    wanted = torch.zeros(28, 28)
    wanted[14:, :21] = 1  # two pixels a cell
    assert torch.equal(first, wanted)
    wanted = torch.zeros(28, 28)
    wanted[:, :14] = 1
    assert torch.equal(second, wanted)


def test_objects_without_masks_are_an_error() -> None:
    with pytest.raises(UsageError, match="targets have no masks; expected data with one for each object"):
        mask_targets(Regions(*[torch.zeros(0, 4)] * 4), objects([[0, 0, 5, 5]], None))


def test_the_mask_loss_by_hand() -> None:
    logits = torch.zeros(2, 3, 28, 28)
    logits[0, 2] = math.log(3)  # a probability of 3/4
    logits[0, 1] = -50.0  # of another class: it counts for nothing
    wanted = torch.zeros(2, 28, 28)
    wanted[0, :14] = 1
    logits.requires_grad_()
    loss = mask_loss(logits, torch.tensor([2, 1]), wanted)
    halves = (math.log(4 / 3) + math.log(4)) / 2  # of the first, half right and half wrong
    assert loss.item() == pytest.approx((halves + math.log(2)) / 2)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.flatten(2).any(2).tolist() == [[False, False, True], [False, True, False]]
    assert mask_loss(logits[:0], torch.zeros(0).long(), wanted[:0]).item() == 0


def test_pasting_by_hand() -> None:
    mask = torch.tensor([[[1.0, 0], [0, 0]]])  # the upper left quarter
    box = torch.tensor([[2.0, 4, 10, 8]])  # cells of 4 x 2 pixels; the first one's middle is at x = 4, y = 5
    # In the middles of the pixels 2 to 7 it is read as 5/8, 7/8, 7/8, 5/8, 3/8, 1/8; in those of rows 4 to 6 as 3/4,
    # 3/4 and 1/4.
    (pasted,) = paste(mask, box, (10, 12), above=0.4)
    assert pasted.nonzero().tolist() == [[row, column] for row in (4, 5) for column in (2, 3, 4, 5)]
    (pasted,) = paste(mask, box, (10, 12), above=0.2)
    rows = {4: (2, 3, 4, 5, 6), 5: (2, 3, 4, 5, 6), 6: (3, 4)}
    assert pasted.nonzero().tolist() == [[row, column] for row, columns in rows.items() for column in columns]
    whole = torch.ones(1, 28, 28)
    (filled,) = paste(whole, torch.tensor([[2.0, 4, 10, 8]]), (10, 12))
    wanted = torch.zeros(10, 12, dtype=torch.bool)
    wanted[4:8, 2:10] = True
    assert torch.equal(filled, wanted)


def test_a_mask_is_pasted_where_its_box_leaves_the_image() -> None:
    (pasted,) = paste(torch.ones(1, 28, 28), torch.tensor([[-5.0, 6, 4, 20]]), (10, 12))
    wanted = torch.zeros(10, 12, dtype=torch.bool)
    wanted[6:, :4] = True
    assert torch.equal(pasted, wanted)
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (10, 12)).shape == (0, 10, 12)


def test_target_and_paste_undo_each_other() -> None:
    y, x = torch.meshgrid(torch.arange(80), torch.arange(90), indexing="ij")
    disc = ((x - 40) ** 2 + (y - 38) ** 2 < 30**2)[None]
    box = torch.tensor([[10.0, 8, 71, 69]])
    regions = Regions(box, torch.tensor([1]), torch.zeros(1, 4), torch.tensor([0]))
    (back,) = paste(mask_targets(regions, objects(box.tolist(), disc)), box, (80, 90))
    overlap = (back & disc[0]).sum() / (back | disc[0]).sum()
    assert overlap > 0.95


def small() -> MaskRCNN:
    """With weights of a ResNet-50 that has seen noise, so that its maps have the size that normalisation gives them."""
    classifier = resnet50(num_classes=2)
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        classifier(torch.randn(2, 3, 64, 64))
    net = MaskRCNN(num_classes=2)
    copied = net.start_from(classifier.state_dict())
    assert set(copied) == {name for name in net.state_dict() if name.startswith(net.backbone_layers)}
    assert not {name for name in copied if name.startswith(net.own_layers)}
    assert isinstance(net.get_submodule("bn1"), FrozenBatchNorm2d)
    return net


@pytest.fixture(scope="module")
def net() -> MaskRCNN:
    torch.manual_seed(0)
    return small()


def test_a_gradient_reaches_all_that_is_not_frozen(net: MaskRCNN) -> None:
    """But for the upper levels: no anchor of theirs lies within 64 pixels, and no region is so large."""
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 20:50, 10:30] = True
    targets = [objects([[10, 20, 30, 50]], masks), objects([], torch.zeros(0, 64, 64, dtype=torch.bool))]
    losses = net.losses(torch.randn(2, 3, 64, 64), targets)
    assert set(losses) == {"anchor_classes", "anchor_boxes", "classes", "boxes", "masks"}
    torch.stack(list(losses.values())).sum().backward()
    without = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    fixed = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert without == fixed | {f"fpn.output{level}.{kind}" for level in (3, 4, 5) for kind in ("weight", "bias")}
    net.zero_grad(set_to_none=True)
    nothing = net.losses(torch.randn(1, 3, 64, 64), targets[1:])
    assert nothing["masks"].item() == nothing["boxes"].item() == 0


def test_detections_bring_masks(net: MaskRCNN) -> None:
    found = net.detect(torch.randn(2, 3, 64, 96), score_above=0.0, most=3)
    for each in found:
        assert each.masks is not None
        assert each.masks.shape == (len(each.labels), 64, 96)
        assert len(each.labels) == 3
    (none,) = net.detect(torch.randn(1, 3, 64, 96), score_above=1.0)
    assert none.masks is not None
    assert none.masks.shape == (0, 64, 96)


def coco(folder: Path, *, segmented: bool) -> Path:
    """Six images with a bright square each."""
    squares = {"id": 1, "name": "square"}
    images, annotations = [], []
    for place in range(6):
        image = np.zeros((64, 64, 3), np.uint8)
        image[10:40, 20:50] = 250
        Image.fromarray(image).save(folder / f"{place}.png")
        images.append({"id": place, "file_name": f"{place}.png", "width": 64, "height": 64})
        polygon = [[20, 10, 50, 10, 50, 40, 20, 40]] if segmented else []
        box = {"bbox": [20, 10, 30, 30], "segmentation": polygon}
        annotations.append({"id": place, "image_id": place, "category_id": 1, **box})
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [squares]}))
    return file


def test_masks_come_with_the_data(tmp_path: Path) -> None:
    found = data.load(str(coco(tmp_path, segmented=True)), task="detection", masks=True)
    (batch,) = Loader(BoxAssembly(found.train.select([0]), Preprocessing((64, 64))), batch_size=1).epoch(0)  # pyright: ignore
    assert batch.labels[0].masks is not None
    assert batch.labels[0].masks.sum() == 900


def test_data_without_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvatlasError, match=r"instances\.json has boxes without masks; expected segmentations"):
        data.load(str(coco(tmp_path, segmented=False)), task="detection", masks=True)


@pytest.mark.slow
def test_heads_are_torchvisions() -> None:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    ours = MaskRCNN(num_classes=4).eval()
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=5).eval()
    rpn, heads = theirs.rpn.head, theirs.roi_heads
    pairs = {
        "rpn_conv": rpn.conv[0][0],
        "rpn_cls_logits": rpn.cls_logits,
        "rpn_bbox_pred": rpn.bbox_pred,
        "fc6": heads.box_head.fc6,
        "fc7": heads.box_head.fc7,
        "cls_score": heads.box_predictor.cls_score,
        "bbox_pred": heads.box_predictor.bbox_pred,
        **{f"mask_fcn{place + 1}": heads.mask_head[place][0] for place in range(4)},
        "conv5_mask": heads.mask_predictor.conv5_mask,
        "mask_fcn_logits": heads.mask_predictor.mask_fcn_logits,
    }
    for name, layer in pairs.items():
        layer.load_state_dict(ours.get_submodule(name).state_dict())
    levels = [torch.randn(1, 256, side, side) for side in (64, 32, 16, 8, 4)]
    logits, codes = rpn(levels)
    for level, z, code in zip(levels, logits, codes, strict=True):
        for mine, other in zip(ours.rpn(level), (z, code), strict=True):
            torch.testing.assert_close(mine, other)
    boxes = [torch.tensor([[3.0, 5, 90, 80], [0, 0, 255, 255]])]
    named = {str(i): x for i, x in enumerate(levels[:4])}
    scores, codes = heads.box_predictor(heads.box_head(heads.box_roi_pool(named, boxes, [(256, 256)])))
    own = ours.classify(align_on_levels(ours.roi_align_box, levels, boxes))
    torch.testing.assert_close(own.scores, scores)
    torch.testing.assert_close(own.codes, codes)
    masks = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(named, boxes, [(256, 256)])))
    torch.testing.assert_close(ours.draw(align_on_levels(ours.roi_align_mask, levels, boxes)), masks)
    assert F.mse_loss(masks, torch.zeros_like(masks)) > 0
