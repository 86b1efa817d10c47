"""Caffe's LeNet: what most people call LeNet-5, and what no paper published.

Jia et al., "Caffe: Convolutional Architecture for Fast Feature Embedding", arXiv:1408.5093, 2014.

Follows  Caffe's examples/mnist/lenet.prototxt, names of layers and initialisation included.
Departs  Nothing. `dims` of 1 or 3 gives the same network for signals or volumes.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.dims import layers
from convatlas.blocks.init import caffe_xavier, initialise
from convatlas.network import Network
from convatlas.registry import register


class CaffeLeNet(Network, nn.Sequential):
    """(B, C, 28, 28) in [0, 1) -> (B, K) logits; with `dims`, 28 px along one, two or three axes."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, dims: int = 2) -> None:
        of = layers(dims)
        super().__init__(
            OrderedDict(
                conv1=of.conv(in_channels, 20, 5),  # 20 x 24 x 24
                pool1=of.max_pool(2),  # 20 x 12 x 12
                conv2=of.conv(20, 50, 5),  # 50 x 8 x 8
                pool2=of.max_pool(2),  # 50 x 4 x 4
                flatten=nn.Flatten(),  # 800
                ip1=nn.Linear(50 * 4**dims, 500),  # 500
                relu1=nn.ReLU(),
                ip2=nn.Linear(500, num_classes),  # 10
            )
        )
        initialise(self, caffe_xavier)


@register(paper="caffe_lenet", input_shape=(1, 28, 28), num_classes=10)
def caffe_lenet(*, num_classes: int = 10, in_channels: int = 1, dims: int = 2) -> CaffeLeNet:
    """Caffe's LeNet: 20 and 50 maps, max pooling, one ReLU, 500 units."""
    return CaffeLeNet(num_classes=num_classes, in_channels=in_channels, dims=dims)
