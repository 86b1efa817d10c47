"""Stochastic depth: a short network in training, the whole deep one in testing.

Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382.

Follows  Equations 2 to 5: block l of L is dropped for the whole mini-batch with probability 1 - p_l, and its residual
         branch is scaled by p_l in testing; p_l falls linearly to p_L = 0.5. The network is the ResNet of He et al.
         for CIFAR-10, and where the map shrinks the shortcut is a 2x2 average pooling with zeros for the new
         channels, as in the authors' ResidualDrop.lua.
Departs  The paper trains He et al.'s network, whose convolutions have no bias: 1,727,962 parameters with 110 layers. In
         the authors' release they have (4,048 more); that is `stochastic_depth_110_released`, and so with 1202.
         The release leaves Torch7's gammas uniform in [0, 1); we start them at 1.
Shapes   B batch, C channels into a block, D its width, H x W map into it, s its stride, n blocks a stage, K classes.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.init import he_normal, initialise
from convatlas.blocks.residual import Residual, stage
from convatlas.network import Network
from convatlas.records import Traits
from convatlas.registry import register


class AveragePoolAndPad(nn.Module):
    """Average pooling, then zeros for the new channels.  (B, C, H, W) -> (B, D, H/s, W/s)

    Odd sizes are rounded up, as by the convolutions beside it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = out_channels - in_channels
        self.pool = nn.AvgPool2d(stride, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(self.pool(x), (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        return f"new_channels={self.new_channels}"


class DroppedBlock(Residual):
    """Two 3x3 convolutions beside a shortcut, left out at random in training.  (B, C, H, W) -> (B, D, H/s, W/s)

    One number of torch's global generator (CPU) is drawn for each mini-batch, also where `survival` is 1, so that a
    network draws the same count whatever its probabilities. A block that is left out gets no gradient (None).
    """

    def __init__(self, in_channels: int, width: int, stride: int, *, survival: float, bias: bool) -> None:
        super().__init__()
        self.survival = survival
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        same = stride == 1 and in_channels == width
        self.shortcut = nn.Identity() if same else AveragePoolAndPad(in_channels, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand((), device="cpu").item() >= self.survival:
            return self.relu2(self.shortcut(x))
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        scale = 1.0 if self.training else self.survival
        return self.relu2(scale * residual + self.shortcut(x))

    def extra_repr(self) -> str:
        return f"survival={self.survival:g}"


def survival_probabilities(blocks: int, last: float = 0.5) -> tuple[float, ...]:
    """p_l = 1 - (l / L)(1 - p_L) for l = 1 to L: equation 4."""
    return tuple(1 - index / blocks * (1 - last) for index in range(1, blocks + 1))


def _stage(in_channels: int, width: int, stride: int, survivals: tuple[float, ...], bias: bool) -> nn.Sequential:
    """A block for each probability.  (B, C, H, W) -> (B, D, H/s, W/s)"""
    p = iter(survivals)
    block = partial(DroppedBlock, width=width, bias=bias)
    return stage("", lambda c, s: block(c, stride=s, survival=next(p)), (in_channels, width), len(survivals), stride)


class StochasticDepth(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; `depth` = 6n + 2. Other image sizes are accepted too.

    `bias` gives the convolutions the biases of the authors' release.
    """

    def __init__(self, depth: int, *, bias: bool, num_classes: int, in_channels: int) -> None:
        super().__init__()
        n = (depth - 2) // 6
        survivals = survival_probabilities(3 * n)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=bias)  # 16 x 32 x 32
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.stage1 = _stage(16, 16, 1, survivals[:n], bias)  # 16 x 32 x 32
        self.stage2 = _stage(16, 32, 2, survivals[n : 2 * n], bias)  # 32 x 16 x 16
        self.stage3 = _stage(32, 64, 2, survivals[2 * n :], bias)  # 64 x 8 x 8
        self.pool = nn.AdaptiveAvgPool2d(1)  # 64 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes)  # 10; Torch7's initialisation, which is torch's
        initialise((layer for layer in self.modules() if layer is not self.fc), he_normal())

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


@register(paper="huang2016_stochastic", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def stochastic_depth_110(*, num_classes: int = 10, in_channels: int = 3) -> StochasticDepth:
    """ResNet-110 for CIFAR-10 whose blocks are dropped at random, p_L = 0.5."""
    return StochasticDepth(110, bias=False, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_stochastic", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def stochastic_depth_1202(*, num_classes: int = 10, in_channels: int = 3) -> StochasticDepth:
    """ResNet-1202 for CIFAR-10 whose blocks are dropped at random, p_L = 0.5."""
    return StochasticDepth(1202, bias=False, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_stochastic", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def stochastic_depth_110_released(*, num_classes: int = 10, in_channels: int = 3) -> StochasticDepth:
    """Stochastic depth with 110 layers as the authors released it, with biases in the convolutions."""
    return StochasticDepth(110, bias=True, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_stochastic", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def stochastic_depth_1202_released(*, num_classes: int = 10, in_channels: int = 3) -> StochasticDepth:
    """Stochastic depth with 1202 layers as the authors released it, with biases in the convolutions."""
    return StochasticDepth(1202, bias=True, num_classes=num_classes, in_channels=in_channels)
