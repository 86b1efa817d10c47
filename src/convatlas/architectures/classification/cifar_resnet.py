"""The ResNets for CIFAR-10: one plain recipe from 20 to 1202 layers, without a parameter in any shortcut.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, section 4.2.

Follows  The table of section 4.2: 6n + 2 layers, 16, 32 and 64 filters, shortcut option A throughout.
Departs  Option A pads the new channels with zeros; the paper does not say on which side. We append them, as Torch's
         nn.Padding in fb.resnet.torch does. Some re-implementations pad half on each side: the same network with
         its channels in another order, and `convatlas.weights` brings their weights into ours.
         Initialisation is He et al. 2015 with the fan-in.
         `dims` of 1 or 3 gives the same network for signals or volumes, which the paper does not have.
Shapes   B batch, C channels into a block, D its width, H x W map into it, s its stride, n blocks a stage, K classes.
"""

from typing import ClassVar

from torch import Tensor, nn

from convatlas.blocks.dims import layers
from convatlas.blocks.init import he_normal, initialise
from convatlas.blocks.residual import Block, Residual, option_a, stage
from convatlas.network import Network
from convatlas.registry import register


class CifarBlock(Residual):
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
        self.shortcut = option_a(in_channels, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu2(residual + self.shortcut(x))


class CifarResNet(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; other sizes are accepted too.

    The networks of its lineage change the block, the width or the initialisation (`initialise`).

    Args:
        depth: weight layers, 6n + 2; with blocks of three layers 9n + 2.
        num_classes: K.
        in_channels: of the input.
        dims: spatial axes of the input: with 1 it is a signal (B, in_channels, L), with 3 a volume.
        block: what the stages consist of.
        width: of the first stage; the others have twice and four times as much.
    """

    def __init__(
        self,
        depth: int,
        *,
        num_classes: int,
        in_channels: int,
        dims: int = 2,
        block: Block = CifarBlock,
        width: int = 16,
    ) -> None:
        super().__init__()
        of = layers(dims)
        self.block, self.dims = block, dims
        n, expansion = (depth - 2) // (3 * block.depth), block.expansion
        self.conv1 = of.conv(in_channels, width, 3, padding=1, bias=False)  # 16 x 32 x 32
        self.bn1 = of.batch_norm(width)
        self.relu1 = nn.ReLU()
        self.stage1 = self.stage(width, width, n, stride=1)  # 16 x 32 x 32
        self.stage2 = self.stage(width * expansion, 2 * width, n, stride=2)  # 32 x 16 x 16
        self.stage3 = self.stage(2 * width * expansion, 4 * width, n, stride=2)  # 64 x 8 x 8
        self.pool = of.adaptive_avg_pool(1)  # 64 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width * expansion, num_classes)  # 10
        self.initialise()

    def stage(self, in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
        """Blocks 1 to `depth`.  (B, C, H, W) -> (B, D or E, H/s, W/s)"""
        channels = (in_channels, width * self.block.expansion)
        return stage("", lambda c, s: self.block(c, width, s, self.dims), channels, depth, stride)

    def initialise(self) -> None:
        """He et al. 2015 over the fan-in."""
        initialise(self, he_normal())

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet20(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-20 for CIFAR-10, shortcut option A."""
    return CifarResNet(20, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet32(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-32 for CIFAR-10, shortcut option A."""
    return CifarResNet(32, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet44(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-44 for CIFAR-10, shortcut option A."""
    return CifarResNet(44, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet56(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-56 for CIFAR-10, shortcut option A."""
    return CifarResNet(56, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet110(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-110 for CIFAR-10, shortcut option A."""
    return CifarResNet(110, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet1202(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-1202 for CIFAR-10, shortcut option A: more layers than the data can use."""
    return CifarResNet(1202, num_classes=num_classes, in_channels=in_channels, dims=dims)
