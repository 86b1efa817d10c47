"""Faster R-CNN's four steps: what learns in each, and what the two networks share in the end."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from convatlas.architectures.detection.fast_rcnn import Trunk
from convatlas.architectures.detection.faster_rcnn import FasterRCNN
from convatlas.errors import UsageError
from convatlas.records import Objects
from convatlas.training.alternating import STEPS, Losses, Step, alternate


def small(channels: int = 8) -> FasterRCNN:
    encoder: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, channels, 4, stride=4), relu1=nn.ReLU(), conv2=nn.Conv2d(channels, 16, 4, stride=4)
    )
    head: OrderedDict[str, nn.Module] = OrderedDict(fc6=nn.Linear(16 * 9, 12), relu6=nn.ReLU())
    trunk = Trunk(encoder, head, bins=3)
    return FasterRCNN(trunk, num_classes=2, width=(16, 8), scales=(2, 3, 4), frozen=("conv1",))


def test_the_four_steps() -> None:
    torch.manual_seed(0)
    first, second = small(), small()
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 3, 96, 128)
    mark = Objects(torch.tensor([[16.0, 16, 80, 80]]), torch.tensor([1]), torch.tensor([False]))
    steps: list[tuple[Step, bool, set[str], set[str]]] = []

    def train(step: Step, net: FasterRCNN, losses: Losses) -> None:
        before = {name: value.clone() for name, value in net.named_parameters()}
        learning = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
        optimizer = torch.optim.SGD(learning.values(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            found = losses(images, [mark, mark])
            total: Tensor = torch.stack(list(found.values())).sum()
            total.backward()
            optimizer.step()
        moved = {name.split(".")[0] for name, value in net.named_parameters() if not torch.equal(value, before[name])}
        steps.append((step, net is first, moved, set(found)))

    assert alternate(first, second, train) is first
    rpn, heads = {"rpn_conv", "rpn_cls_score", "rpn_bbox_pred"}, {"fc6", "cls_score", "bbox_pred"}
    anchors, regions = {"anchor_classes", "anchor_boxes"}, {"classes", "boxes"}
    assert steps == [
        (STEPS[0], True, {"conv2"} | rpn, anchors),
        (STEPS[1], False, {"conv2"} | heads, regions),
        (STEPS[2], True, rpn, anchors),
        (STEPS[3], True, heads, regions),
    ]
    for name in ("conv1", "conv2"):
        assert torch.equal(first.get_submodule(name).weight, second.get_submodule(name).weight)  # pyright: ignore
    assert [name for name, p in first.named_parameters() if not p.requires_grad] == ["conv1.weight", "conv1.bias"]


def test_two_networks_of_the_same_layers_are_needed() -> None:
    net = small()
    for other in (net, small(channels=4)):
        with pytest.raises(UsageError, match="expected two of the same layers"):
            alternate(net, other, lambda *_: None)
