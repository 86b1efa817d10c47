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

import torch
from torch import Tensor, nn

from convatlas.network import Network
from convatlas.registry import register


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Shortcut option B.  (B, C, H, W) -> (B, E, H/s, W/s)"""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))


class GroupedBlock(nn.Module):
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
        self.shortcut = _shortcut(in_channels, out_channels, stride)
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


class AggregatedBlock(nn.Module):
    """Form (a): G paths of three convolutions, summed, beside a shortcut.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    def __init__(self, in_channels: int, out_channels: int, cardinality: int, width: int, stride: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList()
        for _ in range(cardinality):
            path = _path(in_channels, width, stride)
            path["conv3"] = nn.Conv2d(width, out_channels, 1, bias=False)
            self.paths.append(nn.Sequential(path))
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = torch.stack([path(x) for path in self.paths]).sum(0)  # (G, B, E, H/s, W/s) -> (B, E, H/s, W/s)
        return self.relu(self.bn3(residual) + self.shortcut(x))


class ConcatenatedBlock(nn.Module):
    """Form (b): G paths of two convolutions, side by side into one 1x1.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    def __init__(self, in_channels: int, out_channels: int, cardinality: int, width: int, stride: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(nn.Sequential(_path(in_channels, width, stride)) for _ in range(cardinality))
        self.conv3 = nn.Conv2d(cardinality * width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)
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


def _stage(
    prefix: str, in_channels: int, out_channels: int, depth: int, cardinality: int, width: int, stride: int
) -> nn.Sequential:
    """Blocks `prefix`1 to `prefix``depth`, of which the first has the stride.  (B, C, H, W) -> (B, E, H/s, W/s)"""
    blocks = {f"{prefix}1": GroupedBlock(in_channels, out_channels, cardinality, width, stride)}
    for index in range(2, depth + 1):
        blocks[f"{prefix}{index}"] = GroupedBlock(out_channels, out_channels, cardinality, width, 1)
    return nn.Sequential(OrderedDict(blocks))


def _initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -(layer.in_features**-0.5), layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)


class ResNeXt(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller pictures are accepted too.

    `depths` is the number of blocks in conv2_x to conv5_x, `width` that of one of the groups of conv2_x.
    """

    def __init__(
        self, depths: tuple[int, int, int, int], cardinality: int, width: int, *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        G, D = cardinality, width
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)  # 64 x 56 x 56
        self.conv2_x = _stage("conv2_", 64, 256, depths[0], G, D, stride=1)  # 256 x 56 x 56
        self.conv3_x = _stage("conv3_", 256, 512, depths[1], G, 2 * D, stride=2)  # 512 x 28 x 28
        self.conv4_x = _stage("conv4_", 512, 1024, depths[2], G, 4 * D, stride=2)  # 1024 x 14 x 14
        self.conv5_x = _stage("conv5_", 1024, 2048, depths[3], G, 8 * D, stride=2)  # 2048 x 7 x 7
        self.pool = nn.AdaptiveAvgPool2d(1)  # 2048 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(2048, num_classes)  # 1000
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        return self.fc(self.flatten(self.pool(x)))


class CifarResNeXt(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; three stages of three blocks. Other picture sizes are accepted too."""

    def __init__(self, cardinality: int, width: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        G, D = cardinality, width
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)  # 64 x 32 x 32
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.stage1 = _stage("", 64, 256, 3, G, D, stride=1)  # 256 x 32 x 32
        self.stage2 = _stage("", 256, 512, 3, G, 2 * D, stride=2)  # 512 x 16 x 16
        self.stage3 = _stage("", 512, 1024, 3, G, 4 * D, stride=2)  # 1024 x 8 x 8
        self.pool = nn.AdaptiveAvgPool2d(1)  # 1024 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(1024, num_classes)  # 10
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


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
