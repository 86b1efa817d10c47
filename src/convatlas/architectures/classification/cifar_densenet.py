"""The DenseNets for CIFAR: three dense blocks, plain or with bottlenecks and compression (BC).

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993.

Follows  Sections 3 and 4.2 and table 2. A plain net of depth L has three blocks of (L - 4)/3 layers; a BC net has half
         as many, of two convolutions each, and transitions that halve the number of maps.
Departs  The first convolution makes 16 maps in the plain nets, as in the paper; the authors' later code always makes
         2k. The text gives a transition layer as BN, 1x1, pooling; the authors' code has a ReLU after the BN, and so
         have we. Dropout of 0.2 belongs to training on CIFAR and SVHN without augmentation only: the registered nets,
         those of C10+ and C100+, have none. Initialisation is that of the authors' code: He et al. with the fan-out.
Shapes   B batch, C channels, H x W map, k growth rate, K classes.
"""

import math

from torch import Tensor, nn

from convatlas.blocks.dense import BottleneckLayer, DenseBlock, PlainLayer, classification_layer, transition_layer
from convatlas.blocks.dims import layers
from convatlas.blocks.init import initialise_as_fb_resnet
from convatlas.network import Network
from convatlas.registry import register


class CifarDenseNet(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; other image sizes from 4 px are accepted too.

    `depth` is L of the paper, `growth_rate` k. With `dropout`, the paper's for small data without augmentation, it acts
    after every convolution but the first. `dims` is 1 for signals and 3 for volumes. Set `memory_efficient` on the
    network to make its concatenations again in the backward pass rather than store them.
    """

    layer: type[PlainLayer] | type[BottleneckLayer] = PlainLayer
    compression = 1.0  # theta

    def __init__(
        self,
        depth: int,
        growth_rate: int,
        *,
        num_classes: int,
        in_channels: int,
        dropout: float = 0.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.memory_efficient = False
        c = self.first_channels(growth_rate)
        n = self.layers_per_block(depth)

        def block(channels: int) -> DenseBlock:
            return DenseBlock(self.layer, channels, n, growth_rate, dropout=dropout, dims=dims)

        def transition(channels: int) -> nn.Sequential:
            return transition_layer(channels, math.floor(channels * self.compression), dropout=dropout, dims=dims)

        # The shapes are those of DenseNet (L = 40, k = 12).
        self.convolution = layers(dims).conv(in_channels, c, 3, padding=1, bias=False)  # 16 x 32 x 32
        self.dense_block1 = block(c)  # 160 x 32 x 32
        c = self.dense_block1.out_channels
        self.transition_layer1 = transition(c)  # 160 x 16 x 16
        self.dense_block2 = block(math.floor(c * self.compression))  # 304 x 16 x 16
        c = self.dense_block2.out_channels
        self.transition_layer2 = transition(c)  # 304 x 8 x 8
        self.dense_block3 = block(math.floor(c * self.compression))  # 448 x 8 x 8
        self.classification_layer = classification_layer(self.dense_block3.out_channels, num_classes, dims=dims)  # 10
        initialise_as_fb_resnet(self)

    @staticmethod
    def first_channels(growth_rate: int) -> int:
        """Maps of the first convolution."""
        return 16

    @staticmethod
    def layers_per_block(depth: int) -> int:
        """All layers but the first, two transitions and the classifier, over three blocks."""
        return (depth - 4) // 3

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        x = self.transition_layer1(self.dense_block1(x, self.memory_efficient))
        x = self.transition_layer2(self.dense_block2(x, self.memory_efficient))
        return self.classification_layer(self.dense_block3(x, self.memory_efficient))


class CifarDenseNetBC(CifarDenseNet):
    """With bottlenecks (B) and compression (C).  (B, in_channels, 32, 32) -> (B, K) logits"""

    layer = BottleneckLayer
    compression = 0.5

    @staticmethod
    def first_channels(growth_rate: int) -> int:
        return 2 * growth_rate

    @staticmethod
    def layers_per_block(depth: int) -> int:
        return (depth - 4) // 6


@register(paper="huang2016_densenet", input_shape=(3, 32, 32), num_classes=10)
def cifar_densenet_40_12(*, num_classes: int = 10, in_channels: int = 3) -> CifarDenseNet:
    """DenseNet for CIFAR, 40 layers, growth rate 12."""
    return CifarDenseNet(40, 12, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 32, 32), num_classes=10)
def cifar_densenet_100_12(*, num_classes: int = 10, in_channels: int = 3) -> CifarDenseNet:
    """DenseNet for CIFAR, 100 layers, growth rate 12."""
    return CifarDenseNet(100, 12, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 32, 32), num_classes=10)
def cifar_densenet_100_24(*, num_classes: int = 10, in_channels: int = 3) -> CifarDenseNet:
    """DenseNet for CIFAR, 100 layers, growth rate 24."""
    return CifarDenseNet(100, 24, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 32, 32), num_classes=10)
def cifar_densenet_bc_100_12(*, num_classes: int = 10, in_channels: int = 3) -> CifarDenseNetBC:
    """DenseNet-BC for CIFAR, 100 layers, growth rate 12."""
    return CifarDenseNetBC(100, 12, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 32, 32), num_classes=10)
def cifar_densenet_bc_250_24(*, num_classes: int = 10, in_channels: int = 3) -> CifarDenseNetBC:
    """DenseNet-BC for CIFAR, 250 layers, growth rate 24."""
    return CifarDenseNetBC(250, 24, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 32, 32), num_classes=10)
def cifar_densenet_bc_190_40(*, num_classes: int = 10, in_channels: int = 3) -> CifarDenseNetBC:
    """DenseNet-BC for CIFAR, 190 layers, growth rate 40."""
    return CifarDenseNetBC(190, 40, num_classes=num_classes, in_channels=in_channels)
