"""What the Inception networks are made of: branches side by side, normalised convolutions, auxiliary heads.

Shapes   B batch, C channels, N channels of a layer, H x W map, K classes.
"""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.network import Network
from convatlas.records import AuxiliaryOutputs

Kernel = int | tuple[int, int]


class ConvBN(nn.Sequential):
    """Convolution without biases, batch normalisation, ReLU.  (B, C, H, W) -> (B, N, H', W')

    The map keeps its size, or is divided by the stride and rounded up, unless the convolution is `valid`: without
    padding. The epsilon of 0.001 is that of every release of these networks.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: Kernel, *, stride: int = 1, valid: bool = False
    ) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid else (height // 2, width // 2)
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(in_channels, out_channels, (height, width), stride, padding, bias=False),
                bn=nn.BatchNorm2d(out_channels, eps=1e-3),
                relu=nn.ReLU(),
            )
        )


class Branches(nn.Module):
    """Chains of layers side by side on one input, joined along the channels.  (B, C, H, W) -> (B, sum of N, H', W')

    The layers of all chains are direct children, as papers name them: `inception_3a.3x3_reduce`.
    """

    def __init__(self, *branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.branches = tuple(tuple(branch) for branch in branches)
        for branch in branches:
            for name, layer in branch.items():
                self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self.branches], dim=1)

    def _run(self, branch: tuple[str, ...], x: Tensor) -> Tensor:
        for name in branch:
            x = self.get_submodule(name)(x)
        return x


class AuxiliaryPool(nn.AvgPool2d):
    """5x5 average pooling with stride 3, as auxiliary heads begin.  (B, C, H, W) -> (B, C, S, S)

    From maps of another size than the published, S x S averages are taken over equal parts, since what follows
    fits S x S only.
    """

    def __init__(self, size: int) -> None:
        super().__init__(5, stride=3)
        self.size = size

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        fits = all(side >= 5 and (side - 5) // 3 + 1 == self.size for side in input.shape[2:])
        return super().forward(input) if fits else F.adaptive_avg_pool2d(input, self.size)


class AuxiliaryHead(nn.Sequential):
    """A classifier on a map half way, there for training only.  (B, C, H, W) -> (B, K) logits"""


class TrunkWithHeads(Network, nn.Sequential):
    """Layers in order; those that are `AuxiliaryHead`s branch off.  (B, C, H, W) -> (B, K) logits

    In train mode the heads run too, and `AuxiliaryOutputs` comes back.
    """

    auxiliary_weight: float  # of each head's loss beside the main one

    def forward(self, x: Tensor) -> Tensor | AuxiliaryOutputs:  # pyright: ignore[reportIncompatibleMethodOverride]
        auxiliary: list[Tensor] = []
        for layer in self:
            if not isinstance(layer, AuxiliaryHead):
                x = layer(x)
            elif self.training:
                auxiliary.append(layer(x))
        return AuxiliaryOutputs(x, tuple(auxiliary)) if self.training else x
