"""The loss of a network that has losses of its own, as detectors have: what they add up to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from convatlas import weights
from convatlas.architectures.detection.faster_rcnn import FasterRCNN
from convatlas.errors import UsageError
from convatlas.records import HasLosses, Objects
from convatlas.training.losses import Reduction

PROPOSALS = 2_000  # of an image, after the suppression; before it there is no limit
Propose = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class OwnLosses:
    """The sum of `net.losses(images, targets)`, which weighs its parts as the paper does; a mean over the images.

    Of Faster R-CNN, whose stages are trained by themselves, a part: its proposal network's, or its regions'.
    """

    reduction: ClassVar[Reduction] = "mean"

    part: Literal["all", "proposals", "regions"] = "all"
    proposals: str = ""  # weights whose proposal network makes the regions; empty: the network's own


class LossesOf(nn.Module):
    """Such a network as a module whose forward pass is its loss, so that it can be shared by several processes."""

    net: HasLosses

    def __init__(self, net: nn.Module, loss: OwnLosses = OwnLosses()) -> None:
        super().__init__()
        if not isinstance(net, HasLosses):
            raise UsageError(f"{type(net).__name__} has no `losses`; expected a network with losses of its own")
        if loss.part != "all" and not isinstance(net, FasterRCNN):
            raise UsageError(f"loss.part is {loss.part}; {type(net).__name__} has no proposal network: expected all")
        self.net, self.part = net, loss.part
        self._propose = proposer(net, loss.proposals) if isinstance(net, FasterRCNN) else None

    def forward(self, images: Tensor, targets: list[Objects] | Tensor) -> Tensor:
        """(B, C, H, W) and B targets -> scalar; 0 for no images, with a gradient of 0 for every parameter."""
        if len(images) == 0:
            return torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
        return torch.stack(list(self._losses(images, targets).values())).sum()

    def _losses(self, images: Tensor, targets: list[Objects] | Tensor) -> dict[str, Tensor]:
        if self.part == "all" or not isinstance(self.net, FasterRCNN) or isinstance(targets, Tensor):
            return self.net.losses(images, targets)
        if self.part == "proposals":
            return self.net.anchor_losses(images, targets)
        assert self._propose is not None
        return self.net.region_losses(images, targets, self._propose(images))


def proposer(net: FasterRCNN, path: str) -> Propose:
    """Makes the regions of images as rpn_generate.py does: by the weights of `path`, or by the network's own layers."""
    other = None
    if path:
        card = weights.read_card(path)
        if card is None:
            raise UsageError(f"loss.proposals {path} carries no card; expected weights that a run wrote")
        other = weights.create(card["network"], weights=path)
        if not isinstance(other, FasterRCNN):
            raise UsageError(f"loss.proposals {path} are weights of {card['network']}; expected a Faster R-CNN's")

    @torch.no_grad()
    def propose(images: Tensor) -> list[Tensor]:
        maker = net if other is None else other.to(images.device)
        was = maker.training
        maker.eval()
        regions = maker.propose(images, before=None, after=PROPOSALS)
        maker.train(was)
        return regions

    return propose
