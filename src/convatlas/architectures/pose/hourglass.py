"""Stacked hourglass: down to the whole person and up to the single pixel, again and again, supervised each time.

Newell, Yang, Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, arXiv:1603.06937.

Follows  Figures 3 and 4 and the authors' code (pose-hg-train, hg.lua): bottleneck residuals with normalisation and ReLU
         before each convolution, biases in all of them; four poolings down to 4x4, up-sampling by repetition, and a
         residual block on each copied branch. After each hourglass come heat maps; they and the features they were read
         from go through 1x1 convolutions and are added to the hourglass's input. All heat maps are supervised. Layer
         names are the code's: up1, low1 to low3, ll, lin, out; `ll_remap` and `out_remap` are its ll_ and tmpOut_.
Departs  One residual block a place, the code's default, also for one and two stacks. Between the hourglass and `lin` we
         keep the residual block `ll` of figure 4; later versions of hg.lua leave it out.
Shapes   B batch, C channels, H x W map, D channels out, J joints.
"""

from torch import Tensor, nn

from convatlas.network import Network
from convatlas.records import AuxiliaryOutputs
from convatlas.registry import register

FEATURES = 256
POOLINGS = 4
SMALLEST = 4 * 2**POOLINGS  # of which one pixel is left


class Residual(nn.Module):
    """1x1 to half, 3x3, 1x1, added to the input or to its projection.  (B, C, H, W) -> (B, D, H, W)"""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu3 = nn.ReLU()
        self.conv3 = nn.Conv2d(half, out_channels, 1)
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu1(self.bn1(x)))
        y = self.conv2(self.relu2(self.bn2(y)))
        return self.conv3(self.relu3(self.bn3(y))) + self.skip(x)


class Hourglass(nn.Module):
    """A copied branch beside a pooled one, which holds the next smaller hourglass.  (B, C, H, W) -> (B, C, H, W)

    H and W are multiples of 2 to the number of poolings.
    """

    def __init__(self, channels: int, *, poolings: int) -> None:
        super().__init__()
        self.up1 = Residual(channels, channels)
        self.pool = nn.MaxPool2d(2)
        self.low1 = Residual(channels, channels)
        self.low2 = Hourglass(channels, poolings=poolings - 1) if poolings > 1 else Residual(channels, channels)
        self.low3 = Residual(channels, channels)
        self.up2 = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        copied = self.up1(x)
        return copied + self.up2(self.low3(self.low2(self.low1(self.pool(x)))))


class Stack(nn.Module):
    """An hourglass, the features after it and the heat maps.  (B, 256, h, w) -> features and (B, J, h, w)"""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.hourglass = Hourglass(FEATURES, poolings=POOLINGS)
        self.ll = Residual(FEATURES, FEATURES)
        self.lin = nn.Conv2d(FEATURES, FEATURES, 1)
        self.lin_bn = nn.BatchNorm2d(FEATURES)
        self.lin_relu = nn.ReLU()
        self.out = nn.Conv2d(FEATURES, joints, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.lin_relu(self.lin_bn(self.lin(self.ll(self.hourglass(x)))))
        return features, self.out(features)


class Remap(nn.Module):
    """The next hourglass's input: the last one's, its features and its heat maps.  -> (B, 256, h, w)"""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.ll_remap = nn.Conv2d(FEATURES, FEATURES, 1)
        self.out_remap = nn.Conv2d(joints, FEATURES, 1)

    def forward(self, x: Tensor, features: Tensor, heat_maps: Tensor) -> Tensor:
        return x + self.ll_remap(features) + self.out_remap(heat_maps)


class StackedHourglass(Network):
    """(B, in_channels, 256, 256) -> (B, J, 64, 64) heat maps of the last hourglass; multiples of 64 px are accepted.

    In train mode with more than one stack: `AuxiliaryOutputs`, those of the earlier hourglasses beside them.
    """

    def __init__(self, stacks: int, *, num_classes: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        self.cnv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3)  # 64 x 128 x 128
        self.cnv1_bn = nn.BatchNorm2d(64)  # 64 x 128 x 128
        self.cnv1_relu = nn.ReLU()
        self.r1 = Residual(64, 128)  # 128 x 128 x 128
        self.pool = nn.MaxPool2d(2)  # 128 x 64 x 64
        self.r4 = Residual(128, 128)  # 128 x 64 x 64
        self.r5 = Residual(128, FEATURES)  # 256 x 64 x 64
        numbers = range(1, stacks + 1)
        self.stacks = nn.ModuleDict({str(number): Stack(num_classes) for number in numbers})
        self.remaps = nn.ModuleDict({str(number): Remap(num_classes) for number in numbers[:-1]})

    def forward(self, x: Tensor) -> Tensor | AuxiliaryOutputs:
        if x.shape[2] % SMALLEST or x.shape[3] % SMALLEST:
            raise ValueError(f"an image of {x.shape[2]} x {x.shape[3]}; expected multiples of {SMALLEST}")
        x = self.r1(self.cnv1_relu(self.cnv1_bn(self.cnv1(x))))
        x = self.r5(self.r4(self.pool(x)))
        heat_maps: list[Tensor] = []
        for number, stack in self.stacks.items():
            features, joints = stack(x)
            heat_maps.append(joints)
            if number in self.remaps:
                x = self.remaps[number](x, features, joints)
        *earlier, last = heat_maps
        return AuxiliaryOutputs(last, tuple(earlier)) if self.training and earlier else last


@register(task="pose", paper="newell2016_hourglass", input_shape=(3, 256, 256), num_classes=16)
def stacked_hourglass_1(*, num_classes: int = 16, in_channels: int = 3) -> StackedHourglass:
    """One hourglass, for the 16 joints of MPII."""
    return StackedHourglass(1, num_classes=num_classes, in_channels=in_channels)


@register(task="pose", paper="newell2016_hourglass", input_shape=(3, 256, 256), num_classes=16)
def stacked_hourglass_2(*, num_classes: int = 16, in_channels: int = 3) -> StackedHourglass:
    """Two hourglasses with supervision after each."""
    return StackedHourglass(2, num_classes=num_classes, in_channels=in_channels)


@register(task="pose", paper="newell2016_hourglass", input_shape=(3, 256, 256), num_classes=16)
def stacked_hourglass_8(*, num_classes: int = 16, in_channels: int = 3) -> StackedHourglass:
    """The published eight hourglasses with supervision after each."""
    return StackedHourglass(8, num_classes=num_classes, in_channels=in_channels)
