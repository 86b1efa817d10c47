"""ResNet: layers that learn the difference from their input, so that a hundred of them can be trained.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.

Follows  Table 1, figures 3 and 5, with shortcut option B: a projection where the number of channels changes.
         conv3_1, conv4_1 and conv5_1 halve the map; a bottleneck does so in its first 1x1, as the released models do.
         `resnet50_stride3x3` and its kin halve it in the 3x3, as fb.resnet.torch and torchvision do ("v1.5").
Departs  Table 1 gives no padding for the first max pooling; we pad by 1, where the released Caffe models take a
         pooling window that overhangs on one side. The released ResNet-50 has a bias in conv1, the paper has none.
         Initialisation is He et al. 2015 with the fan-in; that paper shows that the fan-out would do as well.
         `dims` of 1 or 3 gives the same network for signals or volumes, which the paper does not have.
Shapes   B batch, C channels into a block, D its width, E = 4D, H x W map into it, s its stride, K classes.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convatlas.blocks.dims import CONVS, layers
from convatlas.network import Network
from convatlas.registry import register


def _projection(in_channels: int, out_channels: int, stride: int, dims: int) -> nn.Sequential:
    """Shortcut option B.  (B, C, H, W) -> (B, out_channels, H/s, W/s)"""
    of = layers(dims)
    return nn.Sequential(
        OrderedDict(
            conv=of.conv(in_channels, out_channels, 1, stride=stride, bias=False),
            bn=of.batch_norm(out_channels),
        )
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        self.conv1 = of.conv(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = of.batch_norm(width)
        self.relu1 = nn.ReLU()
        self.conv2 = of.conv(width, width, 3, padding=1, bias=False)
        self.bn2 = of.batch_norm(width)
        same = stride == 1 and in_channels == width
        self.shortcut = nn.Identity() if same else _projection(in_channels, width, stride, dims)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu(residual + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1 to D, 3x3, 1x1 to E, beside a shortcut; the first 1x1 has the stride.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        first, second = self.strides(stride)
        out_channels = width * self.expansion
        self.conv1 = of.conv(in_channels, width, 1, stride=first, bias=False)
        self.bn1 = of.batch_norm(width)
        self.relu1 = nn.ReLU()
        self.conv2 = of.conv(width, width, 3, stride=second, padding=1, bias=False)
        self.bn2 = of.batch_norm(width)
        self.relu2 = nn.ReLU()
        self.conv3 = of.conv(width, out_channels, 1, bias=False)
        self.bn3 = of.batch_norm(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else _projection(in_channels, out_channels, stride, dims)
        self.relu = nn.ReLU()

    @staticmethod
    def strides(stride: int) -> tuple[int, int]:
        """The strides of the first 1x1 and of the 3x3."""
        return stride, 1

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.relu2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu(residual + self.shortcut(x))


class BottleneckStride3x3(Bottleneck):
    """A bottleneck that strides in the 3x3, so that no pixel is skipped.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    @staticmethod
    def strides(stride: int) -> tuple[int, int]:
        return 1, stride


Block = type[BasicBlock] | type[Bottleneck]


def _stage(name: str, block: Block, in_channels: int, width: int, depth: int, stride: int, dims: int) -> nn.Sequential:
    """Blocks `name`_1 to `name`_`depth`, of which the first has the stride.  (B, C, H, W) -> (B, D or E, H/s, W/s)"""
    out_channels = width * block.expansion
    blocks = {f"{name}_1": block(in_channels, width, stride, dims)}
    blocks |= {f"{name}_{index}": block(out_channels, width, 1, dims) for index in range(2, depth + 1)}
    return nn.Sequential(OrderedDict(blocks))


class ResNet(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller pictures are accepted too.

    `depths` is the number of blocks in conv2_x, conv3_x, conv4_x and conv5_x. With `dims` of 1 or 3 the input is a
    signal (B, in_channels, L) or a volume (B, in_channels, D, H, W).
    """

    def __init__(
        self, block: Block, depths: tuple[int, int, int, int], *, num_classes: int, in_channels: int, dims: int = 2
    ) -> None:
        super().__init__()
        of = layers(dims)
        expansion = block.expansion
        self.conv1 = of.conv(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn1 = of.batch_norm(64)
        self.relu1 = nn.ReLU()
        self.pool1 = of.max_pool(3, stride=2, padding=1)  # 64 x 56 x 56
        # The shapes are those of ResNet-18 and 34; bottlenecks have four times the channels.
        self.conv2_x = _stage("conv2", block, 64, 64, depths[0], stride=1, dims=dims)  # 64 x 56 x 56
        self.conv3_x = _stage("conv3", block, 64 * expansion, 128, depths[1], stride=2, dims=dims)  # 128 x 28 x 28
        self.conv4_x = _stage("conv4", block, 128 * expansion, 256, depths[2], stride=2, dims=dims)  # 256 x 14 x 14
        self.conv5_x = _stage("conv5", block, 256 * expansion, 512, depths[3], stride=2, dims=dims)  # 512 x 7 x 7
        self.pool = of.adaptive_avg_pool(1)  # 512 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512 * expansion, num_classes)  # 1000
        for layer in self.modules():
            if isinstance(layer, (*CONVS, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        return self.fc(self.flatten(self.pool(x)))


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet18(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-18, shortcut option B."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet34(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-34, shortcut option B."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet50(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-50 as published, with the stride in the first 1x1."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet101(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-101 as published, with the stride in the first 1x1."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet152(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-152 as published, with the stride in the first 1x1."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224), aliases=("resnet50_v1_5",))
def resnet50_stride3x3(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-50 with the stride in the 3x3, as torchvision ships it."""
    return ResNet(BottleneckStride3x3, (3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224), aliases=("resnet101_v1_5",))
def resnet101_stride3x3(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-101 with the stride in the 3x3, as torchvision ships it."""
    return ResNet(BottleneckStride3x3, (3, 4, 23, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224), aliases=("resnet152_v1_5",))
def resnet152_stride3x3(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-152 with the stride in the 3x3, as torchvision ships it."""
    return ResNet(BottleneckStride3x3, (3, 8, 36, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)
