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

from typing import ClassVar

from torch import Tensor, nn

from convatlas.blocks.dims import layers
from convatlas.blocks.init import he_normal, initialise
from convatlas.blocks.residual import Block, Residual, option_a, option_b, stage
from convatlas.network import Network
from convatlas.registry import register


class BasicBlock(Residual):
    """Two 3x3 convolutions beside a shortcut.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    expansion: ClassVar[int] = 1
    depth: ClassVar[int] = 2

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        self.conv1 = of.conv(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = of.batch_norm(width)
        self.relu1 = nn.ReLU()
        self.conv2 = of.conv(width, width, 3, padding=1, bias=False)
        self.bn2 = of.batch_norm(width)
        self.shortcut = option_b(in_channels, width, stride, dims)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu(residual + self.shortcut(x))


class BasicBlockA(BasicBlock):
    """The same with shortcut option A, which has no parameters.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        super().__init__(in_channels, width, stride, dims)
        self.shortcut = option_a(in_channels, width, stride)


class Bottleneck(Residual):
    """1x1 to D, 3x3, 1x1 to E, beside a shortcut; the first 1x1 has the stride.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    expansion: ClassVar[int] = 4
    depth: ClassVar[int] = 3

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
        self.shortcut = option_b(in_channels, out_channels, stride, dims)
        self.relu = nn.ReLU()

    @staticmethod
    def strides(stride: int) -> tuple[int, int]:
        """The strides of the first 1x1 and of the 3x3."""
        return stride, 1

    def residual(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, E, H/s, W/s)"""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


class BottleneckStride3x3(Bottleneck):
    """A bottleneck that strides in the 3x3, so that no pixel is skipped.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    @staticmethod
    def strides(stride: int) -> tuple[int, int]:
        return 1, stride


class ResNet(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller images are accepted too.

    The networks of its lineage change the block, what a stage holds (`stage`) or the initialisation (`initialise`).

    Args:
        block: what the stages consist of.
        depths: number of blocks in conv2_x, conv3_x, conv4_x and conv5_x.
        num_classes: K.
        in_channels: of the input.
        dims: spatial axes of the input: with 1 it is a signal (B, in_channels, L), with 3 a volume.
    """

    def __init__(
        self, block: Block, depths: tuple[int, int, int, int], *, num_classes: int, in_channels: int, dims: int = 2
    ) -> None:
        super().__init__()
        of = layers(dims)
        self.block, self.dims = block, dims
        expansion = block.expansion
        self.conv1 = of.conv(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn1 = of.batch_norm(64)
        self.relu1 = nn.ReLU()
        self.pool1 = of.max_pool(3, stride=2, padding=1)  # 64 x 56 x 56
        # The shapes are those of ResNet-18 and 34; bottlenecks have four times the channels.
        self.conv2_x = self.stage(2, 64, 64, depths[0], stride=1)  # 64 x 56 x 56
        self.conv3_x = self.stage(3, 64 * expansion, 128, depths[1], stride=2)  # 128 x 28 x 28
        self.conv4_x = self.stage(4, 128 * expansion, 256, depths[2], stride=2)  # 256 x 14 x 14
        self.conv5_x = self.stage(5, 256 * expansion, 512, depths[3], stride=2)  # 512 x 7 x 7
        self.pool = of.adaptive_avg_pool(1)  # 512 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512 * expansion, num_classes)  # 1000
        self.initialise()

    def stage(self, number: int, in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
        """Blocks conv`number`_1 to conv`number`_`depth`.  (B, C, H, W) -> (B, D or E, H/s, W/s)"""
        channels = (in_channels, width * self.block.expansion)
        return stage(f"conv{number}_", lambda c, s: self.block(c, width, s, self.dims), channels, depth, stride)

    def initialise(self) -> None:
        """He et al. 2015 over the fan-in."""
        initialise(self, he_normal())

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
def resnet18_a(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-18, shortcut option A: the network of table 2."""
    return ResNet(BasicBlockA, (2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet34_a(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-34, shortcut option A: the network of table 2."""
    return ResNet(BasicBlockA, (3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)


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
