"""The loss of a network that has losses of its own, as detectors have: what they add up to."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.records import HasLosses, Objects
from convatlas.training.losses import Reduction


@dataclass(frozen=True)
class OwnLosses:
    """The sum of `net.losses(images, targets)`, which weighs its parts as the paper does; a mean over the images."""

    reduction: ClassVar[Reduction] = "mean"


class LossesOf(nn.Module):
    """Such a network as a module whose forward pass is its loss, so that it can be shared by several processes."""

    net: HasLosses

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        if not isinstance(net, HasLosses):
            raise UsageError(f"{type(net).__name__} has no `losses`; expected a network with losses of its own")
        self.net = net

    def forward(self, images: Tensor, targets: list[Objects] | Tensor) -> Tensor:
        """(B, C, H, W) and B targets -> scalar; 0 for no images, with a gradient of 0 for every parameter."""
        if len(images) == 0:
            return torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
        return torch.stack(list(self.net.losses(images, targets).values())).sum()
