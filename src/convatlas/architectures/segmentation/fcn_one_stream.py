"""FCN on AlexNet and on GoogLeNet: one stream of scores, enlarged 32 times.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.

Follows  Section 4.1 and table 1. FCN-AlexNet is on CaffeNet, as in the authors' release, with its layer names.
Departs  FCN-GoogLeNet was not released. The paper discards the classifier and the average before it, and prints strides
         of 32, 6 M parameters, and the receptive field with the average still there; the rest is ours. All of
         GoogLeNet's filters are padded, so its map covers the image without a border of 100 pixels; the enlargement
         of 63 x 63 then fits with an offset of 1. The auxiliary heads are left out; the dropout stays.
Shapes   B batch, H x W image, K classes, h x w coarse map.
"""

from collections import OrderedDict

from torch import nn

from convatlas.architectures.classification.googlenet import GoogLeNet
from convatlas.architectures.segmentation.fcn import OneStreamFCN, convolutional_classifier
from convatlas.blocks.init import he_normal, initialise
from convatlas.registry import register


def _caffenet_trunk(in_channels: int) -> "OrderedDict[str, nn.Module]":
    """CaffeNet up to drop7.  (B, in_channels, H, W) -> (B, 4096, h, w)"""
    pool = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
    trunk: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(in_channels, 96, 11, stride=4, padding=100),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(**pool),
        norm1=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(**pool),
        norm2=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1),
        conv3=nn.Conv2d(256, 384, 3, padding=1),
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
        relu5=nn.ReLU(),
        pool5=nn.MaxPool2d(**pool),
        **convolutional_classifier(256, 6),
    )
    initialise(trunk.values(), he_normal())
    return trunk


class FCNAlexNet(OneStreamFCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(_caffenet_trunk(in_channels), num_classes, side=63, offset=18)


class FCNGoogLeNet(OneStreamFCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits. GoogLeNet without its average and its classifier."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        net = GoogLeNet(num_classes=1, in_channels=in_channels)
        gone = {"aux1", "aux2", "pool5", "flatten", "classifier"}
        trunk = {name: layer for name, layer in net.named_children() if name not in gone}
        super().__init__(trunk, num_classes, channels=1024, side=63, offset=1)


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 500, 500), num_classes=21)
def fcn_alexnet_voc(*, num_classes: int = 21, in_channels: int = 3) -> FCNAlexNet:
    """FCN-AlexNet: the scores of CaffeNet, enlarged 32 times."""
    return FCNAlexNet(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 500, 500), num_classes=21)
def googlenet_fcn(*, num_classes: int = 21, in_channels: int = 3) -> FCNGoogLeNet:
    """FCN-GoogLeNet as far as it is known: the scores of GoogLeNet's last map, enlarged 32 times."""
    return FCNGoogLeNet(num_classes=num_classes, in_channels=in_channels)
