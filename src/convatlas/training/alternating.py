"""Faster R-CNN's four steps, in which two networks come to share one map (Ren et al. 2015, section 3.2)."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from convatlas.architectures.detection.faster_rcnn import FasterRCNN
from convatlas.errors import UsageError
from convatlas.records import Objects

Losses = Callable[[Tensor, list[Objects]], dict[str, Tensor]]
RPN = ("rpn_conv", "rpn_cls_score", "rpn_bbox_pred")


class Step(NamedTuple):
    """One of the four: which losses, and whether the layers of the map learn with their own."""

    learns: Literal["proposals", "regions"]
    shares_map: bool


STEPS = (Step("proposals", False), Step("regions", False), Step("proposals", True), Step("regions", True))


def alternate(first: FasterRCNN, second: FasterRCNN, train: Callable[[Step, FasterRCNN, Losses], None]) -> FasterRCNN:
    """Trains `first` in the paper's four steps, and returns it.

    1. The proposal network of `first` learns, with its map.
    2. The heads of `second` learn, with their own map, on the proposals of `first`.
    3. `first` takes over the map of `second`, which is frozen; its proposal network learns once more.
    4. It takes over the heads, which learn once more, on the new proposals.

    Args:
        first: from ImageNet weights.
        second: a network of the same layers, from the same weights.
        train: runs one step: trains the network's parameters that need a gradient with these losses. The paper takes
            80,000 images for a proposal network (a learning rate of 0.001, the last 20,000 at 0.0001), and 40,000
            pairs for the heads (30,000 and 10,000).

    Raises:
        UsageError: the networks have other layers, or are one.
    """
    if first is second or _shapes(first) != _shapes(second):
        raise UsageError("first and second are one network, or have other layers; expected two of the same layers")
    wanted = {name: parameter.requires_grad for name, parameter in first.named_parameters()}

    def proposals(images: Tensor) -> list[Tensor]:
        was = first.training
        first.eval()
        with torch.no_grad():
            found = first.propose(images, before=12_000, after=2_000)
        first.train(was)
        return found

    try:
        _learn(first, wanted, (*first.encoder_layers, *RPN))
        train(STEPS[0], first, first.anchor_losses)
        _learn(second, wanted, (*second.encoder_layers, *_heads(second)))
        train(STEPS[1], second, lambda images, targets: second.region_losses(images, targets, proposals(images)))
        _take_over(first, second, first.encoder_layers)
        _learn(first, wanted, RPN)
        train(STEPS[2], first, first.anchor_losses)
        _take_over(first, second, _heads(first))
        _learn(first, wanted, _heads(first))
        train(STEPS[3], first, lambda images, targets: first.region_losses(images, targets, proposals(images)))
    finally:
        for net in (first, second):
            _learn(net, wanted, tuple(dict(net.named_children())))
    return first


def _heads(net: FasterRCNN) -> tuple[str, ...]:
    return (*net.head_layers, "cls_score", "bbox_pred")


def _shapes(net: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, parameter.shape) for name, parameter in net.named_parameters()]


def _learn(net: FasterRCNN, wanted: dict[str, bool], layers: tuple[str, ...]) -> None:
    """Only these layers need a gradient, and of them only what was not frozen before."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(wanted[name] and name.partition(".")[0] in layers)


def _take_over(net: FasterRCNN, other: FasterRCNN, layers: tuple[str, ...]) -> None:
    for name in layers:
        net.get_submodule(name).load_state_dict(other.get_submodule(name).state_dict())
