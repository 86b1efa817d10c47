"""Network in Network: a small perceptron slides instead of a linear filter, and the last maps are the classes.

Lin, Chen, Yan, "Network In Network", arXiv:1312.4400, 2013 (ICLR 2014).

Follows  Sections 3.1 and 3.2. The paper prints no layer table: `nin_cifar10` follows the authors' cuda-convnet
         definition (mavenlin/cuda-convnet, NIN/cifar-10_def), `nin_imagenet` the network that the first author gave to
         Caffe's model zoo, which is not in the paper. Layer names are theirs; the zoo writes conv4-1024, cccp7-1024
         and cccp8-1024 for conv4, cccp7 and cccp8.
Departs  The averaging covers the whole map, whatever its size; the files fix 8 x 8 and 6 x 6, as at 32 and 224 px.
Shapes   B batch, C channels, H x W map (or its 1-D or 3-D kin), K classes. Pools count a last, partial window.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.dims import layers
from convatlas.blocks.init import gaussian, initialise
from convatlas.network import Network
from convatlas.registry import register


class NiNCifar10(Network, nn.Sequential):
    """(B, in_channels, 32, 32) -> (B, K) logits, each the mean of its class's rectified map."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> None:
        of = layers(dims)
        super().__init__(
            OrderedDict(
                conv1=of.conv(in_channels, 192, 5, padding=2),  # 192 x 32 x 32
                relu_conv1=nn.ReLU(),
                cccp1=of.conv(192, 160, 1),  # 160 x 32 x 32
                relu_cccp1=nn.ReLU(),
                cccp2=of.conv(160, 96, 1),  # 96 x 32 x 32
                relu_cccp2=nn.ReLU(),
                pool1=of.max_pool(3, stride=2, ceil_mode=True),  # 96 x 16 x 16
                drop1=nn.Dropout(0.5),
                conv2=of.conv(96, 192, 5, padding=2),  # 192 x 16 x 16
                relu_conv2=nn.ReLU(),
                cccp3=of.conv(192, 192, 1),  # 192 x 16 x 16
                relu_cccp3=nn.ReLU(),
                cccp4=of.conv(192, 192, 1),  # 192 x 16 x 16
                relu_cccp4=nn.ReLU(),
                pool2=of.max_pool(3, stride=2, ceil_mode=True),  # 192 x 8 x 8
                drop2=nn.Dropout(0.5),
                conv3=of.conv(192, 192, 3, padding=1),  # 192 x 8 x 8
                relu_conv3=nn.ReLU(),
                cccp5=of.conv(192, 192, 1),  # 192 x 8 x 8
                relu_cccp5=nn.ReLU(),
                cccp6=of.conv(192, num_classes, 1),  # 10 x 8 x 8
                relu_cccp6=nn.ReLU(),
                gap=of.adaptive_avg_pool(1),  # 10 x 1 x 1
                flatten=nn.Flatten(),  # 10
            )
        )
        initialise(self, gaussian(0.05))


class NiNImageNet(Network, nn.Sequential):
    """(B, in_channels, 224, 224) -> (B, K) logits, each the mean of its class's rectified map."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> None:
        of = layers(dims)
        super().__init__(
            OrderedDict(
                conv1=of.conv(in_channels, 96, 11, stride=4),  # 96 x 54 x 54
                relu_conv1=nn.ReLU(),
                cccp1=of.conv(96, 96, 1),  # 96 x 54 x 54
                relu_cccp1=nn.ReLU(),
                cccp2=of.conv(96, 96, 1),  # 96 x 54 x 54
                relu_cccp2=nn.ReLU(),
                pool1=of.max_pool(3, stride=2, ceil_mode=True),  # 96 x 27 x 27
                conv2=of.conv(96, 256, 5, padding=2),  # 256 x 27 x 27
                relu_conv2=nn.ReLU(),
                cccp3=of.conv(256, 256, 1),  # 256 x 27 x 27
                relu_cccp3=nn.ReLU(),
                cccp4=of.conv(256, 256, 1),  # 256 x 27 x 27
                relu_cccp4=nn.ReLU(),
                pool2=of.max_pool(3, stride=2, ceil_mode=True),  # 256 x 13 x 13
                conv3=of.conv(256, 384, 3, padding=1),  # 384 x 13 x 13
                relu_conv3=nn.ReLU(),
                cccp5=of.conv(384, 384, 1),  # 384 x 13 x 13
                relu_cccp5=nn.ReLU(),
                cccp6=of.conv(384, 384, 1),  # 384 x 13 x 13
                relu_cccp6=nn.ReLU(),
                pool3=of.max_pool(3, stride=2, ceil_mode=True),  # 384 x 6 x 6
                drop=nn.Dropout(0.5),
                conv4=of.conv(384, 1024, 3, padding=1),  # 1024 x 6 x 6
                relu_conv4=nn.ReLU(),
                cccp7=of.conv(1024, 1024, 1),  # 1024 x 6 x 6
                relu_cccp7=nn.ReLU(),
                cccp8=of.conv(1024, num_classes, 1),  # 1000 x 6 x 6
                relu_cccp8=nn.ReLU(),
                pool4=of.adaptive_avg_pool(1),  # 1000 x 1 x 1
                flatten=nn.Flatten(),  # 1000
            )
        )
        initialise(self, gaussian(0.05), by_name={name: gaussian(0.01) for name in ("conv1", "conv3", "cccp8")})


@register(paper="lin2013_nin", input_shape=(3, 32, 32), num_classes=10, aliases=("nin",))
def nin_cifar10(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> NiNCifar10:
    """Network in Network for CIFAR-10: three mlpconv layers and global average pooling."""
    return NiNCifar10(num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="lin2013_nin", input_shape=(3, 224, 224))
def nin_imagenet(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> NiNImageNet:
    """Network in Network for ImageNet as in Caffe's model zoo: four mlpconv layers, 7.6 million parameters."""
    return NiNImageNet(num_classes=num_classes, in_channels=in_channels, dims=dims)
