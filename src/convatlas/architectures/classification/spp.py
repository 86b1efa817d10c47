"""SPP-net: ZFNet with a pyramid of bins in place of its last pooling, for images of any size.

He, Zhang, Ren, Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", arXiv:1406.4729,
2014 (ECCV 2014).

Follows  Section 3.1 for the network, with the pyramid 6 x 6, 3 x 3, 2 x 2 and 1 x 1 of 50 bins, and the authors'
         Zeiler_conv5.prototxt for the paddings, the order and the constants of the normalisation, which is within maps.
Departs  The release's file ends at conv5; the fully connected layers are the paper's. The paper prints no
         initialisation; we draw weights from N(0, 0.01), as ZFNet's.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.init import gaussian, initialise
from convatlas.blocks.pyramid import SpatialPyramidPool
from convatlas.blocks.within_channel import WithinChannelNorm
from convatlas.network import Network
from convatlas.registry import register


class SPPNet(Network, nn.Sequential):
    """(B, in_channels, 224, 224) -> (B, K) logits; images of other sizes are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 7, stride=2, padding=1),  # 96 x 110 x 110
                relu1=nn.ReLU(),
                norm1=WithinChannelNorm(),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 96 x 55 x 55
                conv2=nn.Conv2d(96, 256, 5, stride=2),  # 256 x 26 x 26
                relu2=nn.ReLU(),
                norm2=WithinChannelNorm(),
                pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256 x 13 x 13
                conv3=nn.Conv2d(256, 384, 3, padding=1),  # 384 x 13 x 13
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 384, 3, padding=1),  # 384 x 13 x 13
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(384, 256, 3, padding=1),  # 256 x 13 x 13
                relu5=nn.ReLU(),
                spp=SpatialPyramidPool(),  # 12800
                fc6=nn.Linear(256 * 50, 4096),  # 4096
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )
        initialise(self, gaussian(0.01))


@register(paper="he2014_spp", input_shape=(3, 224, 224))
def sppnet_zf5_classification(*, num_classes: int = 1000, in_channels: int = 3) -> SPPNet:
    """SPP-net on ZF-5: conv5 pooled into 50 bins of four sizes."""
    return SPPNet(num_classes=num_classes, in_channels=in_channels)
