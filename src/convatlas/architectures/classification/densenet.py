"""DenseNet: each layer reads the maps of all layers before it, so that none has to learn them again.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993.

Follows  Table 1: DenseNet-BC, compression 0.5, with the dense blocks of `convatlas.blocks.dense`.
Departs  The text gives a transition layer as BN, 1x1, pooling; the authors' code has a ReLU after the BN, and so have
         we. The CVPR print has DenseNet-264 (k = 32) where the preprint has the released DenseNet-161 (k = 48).
         Initialisation is that of the authors' code: He et al. with the fan-out.
Shapes   B batch, C channels, H x W map, k growth rate, K classes.
"""

from torch import Tensor, nn

from convatlas.blocks.dense import BottleneckLayer, DenseBlock, classification_layer, transition_layer
from convatlas.blocks.dims import layers
from convatlas.blocks.init import initialise_as_fb_resnet
from convatlas.network import Network
from convatlas.registry import register


class DenseNet(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger images are accepted too, and smaller ones from 29 px.

    `depths` is the number of layers in each dense block. `dims` is 1 for signals and 3 for volumes. Set
    `memory_efficient` on the network to make its concatenations again in the backward pass rather than store them.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        growth_rate: int,
        *,
        num_classes: int,
        in_channels: int,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.memory_efficient = False
        of, k = layers(dims), growth_rate

        def block(channels: int, depth: int) -> DenseBlock:
            return DenseBlock(BottleneckLayer, channels, depth, k, dims=dims)

        def transition(channels: int) -> nn.Sequential:
            return transition_layer(channels, channels // 2, dims=dims)

        # The shapes are those of DenseNet-121.
        self.convolution = of.conv(in_channels, 2 * k, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn = of.batch_norm(2 * k)
        self.relu = nn.ReLU()
        self.pooling = of.max_pool(3, stride=2, padding=1)  # 64 x 56 x 56
        self.dense_block1 = block(2 * k, depths[0])  # 256 x 56 x 56
        self.transition_layer1 = transition(c := self.dense_block1.out_channels)  # 128 x 28 x 28
        self.dense_block2 = block(c // 2, depths[1])  # 512 x 28 x 28
        self.transition_layer2 = transition(c := self.dense_block2.out_channels)  # 256 x 14 x 14
        self.dense_block3 = block(c // 2, depths[2])  # 1024 x 14 x 14
        self.transition_layer3 = transition(c := self.dense_block3.out_channels)  # 512 x 7 x 7
        self.dense_block4 = block(c // 2, depths[3])  # 1024 x 7 x 7
        self.classification_layer = classification_layer(self.dense_block4.out_channels, num_classes, dims=dims)  # 1000
        initialise_as_fb_resnet(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pooling(self.relu(self.bn(self.convolution(x))))
        x = self.transition_layer1(self.dense_block1(x, self.memory_efficient))
        x = self.transition_layer2(self.dense_block2(x, self.memory_efficient))
        x = self.transition_layer3(self.dense_block3(x, self.memory_efficient))
        return self.classification_layer(self.dense_block4(x, self.memory_efficient))


@register(paper="huang2016_densenet", input_shape=(3, 224, 224))
def densenet121(*, num_classes: int = 1000, in_channels: int = 3) -> DenseNet:
    """DenseNet-121, growth rate 32."""
    return DenseNet((6, 12, 24, 16), 32, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 224, 224))
def densenet169(*, num_classes: int = 1000, in_channels: int = 3) -> DenseNet:
    """DenseNet-169, growth rate 32."""
    return DenseNet((6, 12, 32, 32), 32, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 224, 224))
def densenet201(*, num_classes: int = 1000, in_channels: int = 3) -> DenseNet:
    """DenseNet-201, growth rate 32."""
    return DenseNet((6, 12, 48, 32), 32, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 224, 224))
def densenet161(*, num_classes: int = 1000, in_channels: int = 3) -> DenseNet:
    """DenseNet-161, growth rate 48: in the preprint and the release, not in the CVPR print."""
    return DenseNet((6, 12, 36, 24), 48, num_classes=num_classes, in_channels=in_channels)


@register(paper="huang2016_densenet", input_shape=(3, 224, 224))
def densenet264(*, num_classes: int = 1000, in_channels: int = 3) -> DenseNet:
    """DenseNet-264, growth rate 32: in the CVPR print, in the place of DenseNet-161."""
    return DenseNet((6, 12, 64, 48), 32, num_classes=num_classes, in_channels=in_channels)
