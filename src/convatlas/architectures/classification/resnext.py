"""ResNeXt: many small transformations of one shape, summed; their number is a dimension beside depth and width.

Xie, Girshick, Dollar, Tu, He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017,
arXiv:1611.05431.

Follows  Table 1 and figure 3. The networks are built in form (c), grouped convolutions; forms (a), aggregated paths,
         and (b), early concatenation, are the same function with the weights in other tensors, and the functions
         below carry them over. In form (a) the paths are normalised after their sum (section 4). The stride is in the
         3x3, shortcuts are option B.
Departs  The CIFAR networks are the authors' resnext.lua: the paper trained pre-activation blocks there, and the release
         found these better. Initialisation is the release's: He et al. 2015 with the fan-out, and Torch7's uniform
         +-1/sqrt(fan-in) for fc with a bias of 0.
Shapes   B batch, C channels into a block, G cardinality, D width of one of G groups, E output channels of a block,
         H x W map into it, s its stride, K classes.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.cifar_resnet import CifarResNet
from convatlas.architectures.classification.resnet import ResNet
from convatlas.blocks.init import initialise_as_fb_resnet
from convatlas.blocks.residual import Residual, option_b
from convatlas.registry import register


class GroupedBlock(Residual):
    """Form (c): 1x1, a 3x3 of G groups, 1x1, beside a shortcut.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    def __init__(self, in_channels: int, out_channels: int, cardinality: int, width: int, stride: int) -> None:
        super().__init__()
        inner = cardinality * width
        self.cardinality = cardinality
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=cardinality, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = option_b(in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.relu2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu(residual + self.shortcut(x))


def _path(in_channels: int, width: int, stride: int) -> OrderedDict[str, nn.Module]:
    """The layers of one path up to its 3x3.  (B, C, H, W) -> (B, D, H/s, W/s)"""
    return OrderedDict(
        conv1=nn.Conv2d(in_channels, width, 1, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
        bn2=nn.BatchNorm2d(width),
        relu2=nn.ReLU(),
    )


class AggregatedBlock(Residual):
    """Form (a): G paths of three convolutions, summed, beside a shortcut.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    def __init__(self, in_channels: int, out_channels: int, cardinality: int, width: int, stride: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList()
        for _ in range(cardinality):
            path = _path(in_channels, width, stride)
            path["conv3"] = nn.Conv2d(width, out_channels, 1, bias=False)
            self.paths.append(nn.Sequential(path))
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = option_b(in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.stack([path(x) for path in self.paths]).sum(0)  # (G, B, E, H/s, W/s) -> (B, E, H/s, W/s)
        return self.relu(self.bn3(residual) + self.shortcut(x))


class ConcatenatedBlock(Residual):
    """Form (b): G paths of two convolutions, side by side into one 1x1.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    def __init__(self, in_channels: int, out_channels: int, cardinality: int, width: int, stride: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(nn.Sequential(_path(in_channels, width, stride)) for _ in range(cardinality))
        self.conv3 = nn.Conv2d(cardinality * width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = option_b(in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.cat([path(x) for path in self.paths], dim=1)  # (B, G D, H/s, W/s)
        residual = self.bn3(self.conv3(residual))
        return self.relu(residual + self.shortcut(x))


def _axis(name: str, value: Tensor) -> int | None:
    """The axis along which the groups of a tensor of form (c) lie; None: all paths have the same value."""
    if value.dim() == 0:  # the count of batches
        return None
    return 1 if name.startswith("conv3.") else 0


def aggregated_state(grouped: Mapping[str, Tensor], cardinality: int) -> dict[str, Tensor]:
    """The state dict of an `AggregatedBlock`, form (a), from that of the equal `GroupedBlock`, form (c)."""
    return _split(grouped, cardinality, ("conv1.", "bn1.", "conv2.", "bn2.", "conv3."))


def concatenated_state(grouped: Mapping[str, Tensor], cardinality: int) -> dict[str, Tensor]:
    """The state dict of a `ConcatenatedBlock`, form (b), from that of the equal `GroupedBlock`, form (c)."""
    return _split(grouped, cardinality, ("conv1.", "bn1.", "conv2.", "bn2."))


def _split(grouped: Mapping[str, Tensor], cardinality: int, of_paths: tuple[str, ...]) -> dict[str, Tensor]:
    state = {}
    for name, value in grouped.items():
        if not name.startswith(of_paths):
            state[name] = value
            continue
        axis = _axis(name, value)
        parts = [value] * cardinality if axis is None else value.chunk(cardinality, dim=axis)
        state |= {f"paths.{index}.{name}": part for index, part in enumerate(parts)}
    return state


def grouped_state(paths: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a `GroupedBlock`, form (c), from that of the equal block of form (a) or (b)."""
    state: dict[str, Tensor] = {}
    parts: dict[str, list[Tensor]] = {}
    for name, value in paths.items():
        if name.startswith("paths."):
            parts.setdefault(name.split(".", 2)[2], []).append(value)
        else:
            state[name] = value
    for name, values in parts.items():
        axis = _axis(name, values[0])
        state[name] = values[0] if axis is None else torch.cat(values, dim=axis)
    return state


@dataclass(frozen=True)
class Grouped:
    """Builds a ResNet's blocks in form (c): G groups of D channels where the ResNet is 64 wide, and in proportion."""

    cardinality: int  # G
    width: int  # D
    expansion: int = 4
    depth: int = 3

    def __call__(self, in_channels: int, width: int, stride: int, dims: int = 2, /) -> GroupedBlock:
        return GroupedBlock(in_channels, 4 * width, self.cardinality, self.width * width // 64, stride)


class ResNeXt(ResNet):
    """(B, in_channels, 224, 224) -> (B, K) logits; a ResNet of grouped blocks.

    `depths` is the number of blocks in conv2_x to conv5_x, `width` that of one of the groups of conv2_x.
    """

    def __init__(
        self, depths: tuple[int, int, int, int], cardinality: int, width: int, *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__(Grouped(cardinality, width), depths, num_classes=num_classes, in_channels=in_channels)

    def initialise(self) -> None:
        initialise_as_fb_resnet(self)


class CifarResNeXt(CifarResNet):
    """(B, in_channels, 32, 32) -> (B, K) logits; three stages of three grouped blocks, 29 weight layers."""

    def __init__(self, cardinality: int, width: int, *, num_classes: int, in_channels: int) -> None:
        block = Grouped(cardinality, width)
        super().__init__(29, num_classes=num_classes, in_channels=in_channels, block=block, width=64)

    def initialise(self) -> None:
        initialise_as_fb_resnet(self)


@register(paper="xie2016_resnext", input_shape=(3, 224, 224))
def resnext50_32x4d(*, num_classes: int = 1000, in_channels: int = 3) -> ResNeXt:
    """ResNeXt-50 with 32 groups of 4 channels."""
    return ResNeXt((3, 4, 6, 3), 32, 4, num_classes=num_classes, in_channels=in_channels)


@register(paper="xie2016_resnext", input_shape=(3, 224, 224))
def resnext101_32x4d(*, num_classes: int = 1000, in_channels: int = 3) -> ResNeXt:
    """ResNeXt-101 with 32 groups of 4 channels."""
    return ResNeXt((3, 4, 23, 3), 32, 4, num_classes=num_classes, in_channels=in_channels)


@register(paper="xie2016_resnext", input_shape=(3, 224, 224))
def resnext101_64x4d(*, num_classes: int = 1000, in_channels: int = 3) -> ResNeXt:
    """ResNeXt-101 with 64 groups of 4 channels."""
    return ResNeXt((3, 4, 23, 3), 64, 4, num_classes=num_classes, in_channels=in_channels)


@register(paper="xie2016_resnext", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnext29_8x64d(*, num_classes: int = 10, in_channels: int = 3) -> CifarResNeXt:
    """ResNeXt-29 for CIFAR-10 with 8 groups of 64 channels."""
    return CifarResNeXt(8, 64, num_classes=num_classes, in_channels=in_channels)


@register(paper="xie2016_resnext", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnext29_16x64d(*, num_classes: int = 10, in_channels: int = 3) -> CifarResNeXt:
    """ResNeXt-29 for CIFAR-10 with 16 groups of 64 channels."""
    return CifarResNeXt(16, 64, num_classes=num_classes, in_channels=in_channels)
