"""Plain nets: ResNets without their shortcuts, the other half of the experiment on degradation.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.

Follows  Table 1 and figure 3 (middle) for ImageNet, section 4.2 for CIFAR-10. Layers keep the names of the ResNet
         of the same depth, so that `convatlas diff plain34 resnet34` shows the shortcuts and nothing else.
Departs  Table 1 gives no padding for the first max pooling; we pad by 1. Initialisation is He et al. 2015 with the
         fan-in; that paper shows that the fan-out would do as well.
Shapes   B batch, C channels into a block, D its width, H x W map into it, s its stride, n blocks a stage, K classes.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convatlas.network import Network
from convatlas.registry import register


def _initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)


class PlainBlock(nn.Sequential):
    """Two 3x3 convolutions, nothing beside them.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False),
                bn1=nn.BatchNorm2d(width),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(width, width, 3, padding=1, bias=False),
                bn2=nn.BatchNorm2d(width),
                relu2=nn.ReLU(),
            )
        )


def _stage(prefix: str, in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Blocks `prefix`1 to `prefix``depth`, of which the first has the stride.  (B, C, H, W) -> (B, D, H/s, W/s)"""
    blocks = {f"{prefix}1": PlainBlock(in_channels, width, stride)}
    blocks |= {f"{prefix}{index}": PlainBlock(width, width, 1) for index in range(2, depth + 1)}
    return nn.Sequential(OrderedDict(blocks))


class PlainNet(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller pictures are accepted too.

    `depths` is the number of blocks in conv2_x, conv3_x, conv4_x and conv5_x.
    """

    def __init__(self, depths: tuple[int, int, int, int], *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)  # 64 x 56 x 56
        self.conv2_x = _stage("conv2_", 64, 64, depths[0], stride=1)  # 64 x 56 x 56
        self.conv3_x = _stage("conv3_", 64, 128, depths[1], stride=2)  # 128 x 28 x 28
        self.conv4_x = _stage("conv4_", 128, 256, depths[2], stride=2)  # 256 x 14 x 14
        self.conv5_x = _stage("conv5_", 256, 512, depths[3], stride=2)  # 512 x 7 x 7
        self.pool = nn.AdaptiveAvgPool2d(1)  # 512 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, num_classes)  # 1000
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        return self.fc(self.flatten(self.pool(x)))


class CifarPlainNet(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; `depth` = 6n + 2. Other picture sizes are accepted too."""

    def __init__(self, depth: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)  # 16 x 32 x 32
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.stage1 = _stage("", 16, 16, n, stride=1)  # 16 x 32 x 32
        self.stage2 = _stage("", 16, 32, n, stride=2)  # 32 x 16 x 16
        self.stage3 = _stage("", 32, 64, n, stride=2)  # 64 x 8 x 8
        self.pool = nn.AdaptiveAvgPool2d(1)  # 64 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes)  # 10
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def plain18(*, num_classes: int = 1000, in_channels: int = 3) -> PlainNet:
    """ResNet-18 without shortcuts."""
    return PlainNet((2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def plain34(*, num_classes: int = 1000, in_channels: int = 3) -> PlainNet:
    """ResNet-34 without shortcuts: worse than plain18, which is the degradation problem."""
    return PlainNet((3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain20(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-20 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(20, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain32(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-32 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(32, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain44(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-44 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(44, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain56(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-56 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(56, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain110(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-110 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(110, num_classes=num_classes, in_channels=in_channels)
