"""SSD: default boxes and losses by hand, heads and matches beside torchvision's."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import ssd as torchvision_ssd
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from convatlas import registry, weights
from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import trace_network
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.squeezenet import SqueezeNetV11
from convatlas.architectures.classification.vgg import VGG
from convatlas.architectures.detection import ssd, ssd_squeezenet
from convatlas.architectures.detection.multibox import (
    DefaultBoxes,
    L2Norm,
    MultiBoxDetector,
    MultiBoxOutputs,
    default_boxes,
    multibox_detections,
    multibox_losses,
)
from convatlas.errors import UsageError
from convatlas.records import Objects, StartsFromOthers

NETWORKS = ("ssd300", "ssd512", "ssd300_squeezenet")
PAPER = {"score_above": 0.01, "iou_above": 0.45, "most": 200, "most_per_class": 400}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def objects(boxes: list[list[float]], labels: list[int]) -> Objects:
    return Objects(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels).long(), torch.zeros(len(labels)).bool())


def on_meta(name: str, num_classes: int | None = None) -> MultiBoxDetector:
    with torch.device("meta"):
        net = registry.build(name, num_classes=num_classes)
    assert isinstance(net, MultiBoxDetector)
    return net


@pytest.mark.parametrize("name", NETWORKS)
def test_no_row_of_the_ledger_fails(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_classes_and_channels(name: str) -> None:
    with torch.device("meta"):
        net, x = (
            registry.build(name, num_classes=3, in_channels=1),
            torch.empty(2, 1, *registry.card(name).input_shape[1:]),
        )
    outputs = net(x)
    boxes = {"ssd300": 8732, "ssd512": 24564, "ssd300_squeezenet": 8096}[name]
    assert outputs.codes.shape == (2, boxes, 4)
    assert outputs.logits.shape == (2, boxes, 4)
    assert outputs.boxes.shape == (boxes, 4)


def test_default_boxes_by_hand() -> None:
    row = DefaultBoxes(20, 45, (4,), step=10)  # squares of 20 and 30, then 40 x 10 and 10 x 40
    expected = [
        [-5, -5, 15, 15], [-10, -10, 20, 20], [-15, 0, 25, 10], [0, -15, 10, 25],
        [5, -5, 25, 15], [0, -10, 30, 20], [-5, 0, 35, 10], [10, -15, 20, 25],
    ]  # fmt: skip
    torch.testing.assert_close(default_boxes([row], [(1, 2)]), torch.tensor(expected).float())
    down = default_boxes([row], [(2, 1)])
    torch.testing.assert_close(down[4:], down[:4] + torch.tensor([0.0, 10, 0, 10]))
    moved = DefaultBoxes(20, 45, (4,), step=10, first=7)
    torch.testing.assert_close(default_boxes([moved], [(1, 1)]), down[:4] + 2)


@pytest.mark.parametrize(
    ("rows", "side", "maps"),
    [(ssd.ROWS_300, 300, (38, 19, 10, 5, 3, 1)), (ssd.ROWS_512, 512, (64, 32, 16, 8, 4, 2, 1))],
)
def test_default_boxes_are_those_of_torchvision(
    rows: dict[str, DefaultBoxes], side: int, maps: tuple[int, ...]
) -> None:
    scales = [*(row.size / side for row in rows.values()), list(rows.values())[-1].next_size / side]
    ratios, steps = [list(row.ratios) for row in rows.values()], [int(row.step) for row in rows.values()]
    theirs = DefaultBoxGenerator(ratios, scales=scales, steps=steps, clip=False)  # type: ignore[arg-type]
    images = ImageList(torch.empty(1, 3, side, side), [(side, side)])
    boxes = theirs(images, [torch.empty(1, 1, m, m) for m in maps])[0]
    torch.testing.assert_close(default_boxes(list(rows.values()), [(m, m) for m in maps]), boxes, rtol=1e-4, atol=1e-3)


def test_squeezenets_default_boxes_stand_where_their_position_sees() -> None:
    records = trace_network("ssd300_squeezenet")
    fields = dict(zip((record.name for record in records), receptive_fields(records), strict=True))
    for name, row in ssd_squeezenet.ROWS.items():
        field = fields[f"{name}_mbox_loc"]
        assert field is not None
        assert (field.stride[0], field.offset[0] + field.size[0] / 2) == (row.step, row.first), name


def test_l2norm_gives_every_position_the_same_length() -> None:
    norm = L2Norm(2, scale=20)
    y = norm(torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]]))
    torch.testing.assert_close(y, torch.tensor([[[[12.0, 0.0]], [[16.0, 0.0]]]]))


def test_losses_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70], [80, 80, 90, 90]])
    logits = torch.tensor([[[0.0, 0, 0], [0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 3]]])
    codes = torch.zeros(1, 5, 4)
    codes[0, 0] = torch.tensor([0.5, 0.0, 0.0, 3.0])
    found = multibox_losses(MultiBoxOutputs(codes, logits, boxes), [objects([[1, 0, 11, 10]], [1])])
    # The object is box 0 moved by 0.1 of its width, whose code is 0.1 / 0.1 = 1. Differences: 0.5 and 3.
    assert found["localisation"].item() == pytest.approx(0.5 * 0.5**2 + (3 - 0.5))
    # Box 0 has class 2. Three of the four others are counted, those furthest from the background: 4, 3 and 1.
    background = [math.log(2 + math.exp(3)), math.log(2 + math.e), math.log(3)]
    assert found["classification"].item() == pytest.approx(math.log(3) + sum(background))


def test_a_batch_is_divided_by_its_matched_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    outputs = MultiBoxOutputs(torch.zeros(2, 2, 4), torch.zeros(2, 2, 2), boxes)
    found = multibox_losses(outputs, [objects([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0]), objects([], [])])
    assert found["classification"].item() == pytest.approx(math.log(2))
    nothing = multibox_losses(outputs, [objects([], [])] * 2)
    assert {name: loss.item() for name, loss in nothing.items()} == {"localisation": 0, "classification": 0}


def test_losses_are_those_of_torchvision() -> None:
    generator = torch.Generator().manual_seed(1)
    boxes = default_boxes([DefaultBoxes(30, 60, (2,), step=16)], [(18, 18)])
    outputs = MultiBoxOutputs(
        torch.randn(2, len(boxes), 4, generator=generator), torch.randn(2, len(boxes), 5, generator=generator), boxes
    )
    targets = [objects([[10, 10, 45, 50], [100, 90, 170, 130]], [0, 3]), objects([[200, 30, 240, 60]], [2])]
    coder = torchvision_ssd.det_utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    matcher = torchvision_ssd.det_utils.SSDMatcher(0.5)
    theirs = torchvision_ssd.SSD.compute_loss(
        SimpleNamespace(box_coder=coder, neg_to_pos_ratio=3),  # type: ignore[arg-type]
        [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets],
        {"bbox_regression": outputs.codes, "cls_logits": outputs.logits},
        [boxes, boxes],
        [matcher(box_iou(target.boxes, boxes)) for target in targets],
    )
    ours = multibox_losses(outputs, targets)
    torch.testing.assert_close(ours["localisation"], theirs["bbox_regression"])
    torch.testing.assert_close(ours["classification"], theirs["classification"])


def test_detections_by_hand() -> None:
    boxes = torch.tensor([[-4.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    logits = torch.log(torch.tensor([[[0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.2, 0.008, 0.792]]]))
    codes = torch.zeros(1, 3, 4)
    codes[0, 2] = torch.tensor([1.0, 0, 0, 0])  # a tenth of its width to the right
    (found,) = multibox_detections(MultiBoxOutputs(codes, logits, boxes), (40, 30), **PAPER)
    # Boxes 0 and 1 overlap by 10/14, so that class 0 keeps box 1; for class 1 box 0 goes before the equal box 1.
    assert found.labels.tolist() == [0, 1, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.8, 0.792, 0.1]))
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 10, 10], [21, 20, 30, 30], [0, 0, 10, 10]]))


def test_heads_give_each_position_its_boxes_in_order() -> None:
    net = on_meta("ssd300_squeezenet", 2).to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    bias = net.get_submodule("fire5_norm_mbox_conf").get_parameter("bias")
    with torch.no_grad():
        bias.copy_(torch.arange(12))
        logits = net(torch.zeros(1, 3, 300, 300)).logits[0]
    assert logits[:5].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [0, 1, 2]]


def test_a_gradient_reaches_every_parameter_of_the_small_one() -> None:
    net = registry.build("ssd300_squeezenet", num_classes=2)
    codes, logits, _ = net(torch.randn(2, 3, 300, 300))
    (codes.square().sum() + logits.square().sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.slow
def test_maps_and_heads_are_those_of_torchvision() -> None:
    ours = registry.build("ssd300").eval()
    theirs = torchvision_ssd.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=21).eval()
    names = [name for name in ours.trunk if isinstance(ours.get_submodule(name), nn.Conv2d)]
    layers = [layer for layer in theirs.backbone.modules() if isinstance(layer, nn.Conv2d)]
    for name, layer in zip(names, layers, strict=True):
        layer.load_state_dict(ours.get_submodule(name).state_dict())
    assert theirs.backbone.scale_weight.tolist() == ours.conv4_3_norm.scale.tolist()
    for kind, head in (("loc", theirs.head.regression_head), ("conf", theirs.head.classification_head)):
        for name, layer in zip(ours.rows, head.module_list, strict=True):
            layer.load_state_dict(ours.get_submodule(f"{name}_mbox_{kind}").state_dict())
    x = 50 * torch.randn(1, 3, 300, 300)
    with torch.no_grad():
        outputs = theirs.head(list(theirs.backbone(x).values()))
        codes, logits, _ = ours(x)
    torch.testing.assert_close(codes, outputs["bbox_regression"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, outputs["cls_logits"], rtol=1e-4, atol=1e-4)


def test_vgg_starts_ssd_with_every_fourth_unit_of_its_fully_connected_layers() -> None:
    with torch.device("meta"):
        vgg = VGG("D", num_classes=1)
    vgg, net = vgg.to_empty(device="cpu"), on_meta("ssd300", 2).to_empty(device="cpu")
    assert isinstance(net, ssd.SSD)
    for name in ("conv1_1", "conv5_3", "fc7"):
        nn.init.normal_(vgg.get_submodule(name).get_parameter("weight"))
    with torch.no_grad():
        fc6 = vgg.fc6.weight.detach().view(4096, 512, 7, 7)
        fc6[::4, :, ::3, ::3] = torch.randn(1024, 512, 3, 3)
    copied = net.start_from(vgg.state_dict())
    assert len(copied) == 30  # weights and biases of 15 layers
    assert not any(name.startswith(net.own_layers) for name in copied)
    assert {name for name in net.state_dict() if not name.startswith(net.own_layers)} == set(copied)
    assert torch.equal(net.conv5_3.weight, vgg.conv5_3.weight)
    assert torch.equal(net.fc6.weight[5, 7, 2, 1], fc6[20, 7, 6, 3])
    assert torch.equal(net.fc7.weight[3, 9, 0, 0], vgg.fc7.weight[12, 36])


def test_another_classifier_can_not_start_a_detector() -> None:
    with torch.device("meta"):
        wrong = SqueezeNetV11(in_channels=1).state_dict()
    for name in ("ssd300", "ssd300_squeezenet"):
        net = on_meta(name, 2)
        assert isinstance(net, StartsFromOthers)
        with pytest.raises(UsageError, match="conv1" if name == "ssd300_squeezenet" else "have no layer of SSD"):
            net.start_from(wrong)


@pytest.mark.data
def test_real_weights_start_the_small_one(data_root: Path) -> None:
    classifier = weights.create("squeezenet_v1_1", weights=data_root / "weights" / "squeezenet1_1_caffe_bgr.pth")
    net = registry.build("ssd300_squeezenet", num_classes=3)
    copied = net.start_from(classifier.state_dict())
    assert copied[-1] == "fire9.expand3x3.bias"
    assert {name for name in net.state_dict() if not name.startswith(net.own_layers)} == set(copied)
    x = 50 * torch.randn(1, 3, 60, 60)
    seen = x
    for name in net.encoder:
        seen = getattr(net, name)(seen)
    expected: list[Tensor] = []
    classifier.fire9.register_forward_hook(lambda *args: expected.append(args[2]))
    classifier(x)
    assert torch.equal(seen, expected[0])
