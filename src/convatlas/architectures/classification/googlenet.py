"""GoogLeNet: filters of several sizes side by side, after 1x1 convolutions that make them cheap.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv:1409.4842.

Follows  Table 1 and figure 3; what they leave open (paddings, response normalisation, initialisation) is as in Caffe's
         models/bvlc_googlenet. `googlenet_bn` follows what torchvision ships as `googlenet`.
Departs  The first row of table 1 (2.7K parameters, 34M operations) is that of a separable convolution with eight maps a
         channel, 3 x 8 x 49 + 24 x 64 weights; the text and every release have the plain 7x7 of the "patch" column.
         An auxiliary head needs a 14 x 14 map; from others it averages 4 x 4 equal parts, so that other
         images train too.
Shapes   B batch, C channels, H x W map, K classes; N1, N3, N5, P output channels of the four branches.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.inception import AuxiliaryHead, AuxiliaryPool, Branches, ConvBN, TrunkWithHeads
from convatlas.blocks.init import caffe_xavier, cut_gaussian, initialise
from convatlas.registry import register

Pair = tuple[int, int]  # channels of the reduction, and of the filters after it


def _with_relu(layers: dict[str, nn.Conv2d]) -> dict[str, nn.Module]:
    """Each convolution followed by its own `relu_<name>`."""
    return {name: layer for n, conv in layers.items() for name, layer in ((n, conv), (f"relu_{n}", nn.ReLU()))}


def _normalise() -> nn.LocalResponseNorm:
    """Over 5 neighbouring maps, with Caffe's constants: alpha is divided by 5, as torch does, and k is 1."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class Inception(Branches):
    """Figure 2 (b).  (B, C, H, W) -> (B, N1 + N3 + N5 + P, H, W)"""

    def __init__(self, channels: int, n1: int, n3: Pair, n5: Pair, pool_proj: int) -> None:
        super().__init__(
            _with_relu({"1x1": nn.Conv2d(channels, n1, 1)}),
            _with_relu({"3x3_reduce": nn.Conv2d(channels, n3[0], 1), "3x3": nn.Conv2d(*n3, 3, padding=1)}),
            _with_relu({"5x5_reduce": nn.Conv2d(channels, n5[0], 1), "5x5": nn.Conv2d(*n5, 5, padding=2)}),
            {
                "pool": nn.MaxPool2d(3, stride=1, padding=1),
                **_with_relu({"pool_proj": nn.Conv2d(channels, pool_proj, 1)}),
            },
        )


class InceptionBN(Branches):
    """Normalised, and with 3x3 filters where the 5x5 stood.  (B, C, H, W) -> (B, N1 + N3 + N5 + P, H, W)"""

    def __init__(self, channels: int, n1: int, n3: Pair, n5: Pair, pool_proj: int) -> None:
        super().__init__(
            {"1x1": ConvBN(channels, n1, 1)},
            {"3x3_reduce": ConvBN(channels, n3[0], 1), "3x3": ConvBN(*n3, 3)},
            {"5x5_reduce": ConvBN(channels, n5[0], 1), "5x5": ConvBN(*n5, 3)},
            {"pool": nn.MaxPool2d(3, stride=1, padding=1), "pool_proj": ConvBN(channels, pool_proj, 1)},
        )


class Auxiliary(AuxiliaryHead):
    """Section 5.  (B, C, H, W) -> (B, K) logits"""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                avgpool=AuxiliaryPool(4),
                conv=nn.Conv2d(channels, 128, 1),
                relu_conv=nn.ReLU(),
                flatten=nn.Flatten(),
                fc=nn.Linear(128 * 4 * 4, 1024),
                relu_fc=nn.ReLU(),
                drop=nn.Dropout(0.7),
                classifier=nn.Linear(1024, num_classes),
            )
        )


class AuxiliaryBN(AuxiliaryHead):
    """With a normalised convolution, and 4 x 4 averages over equal parts.  (B, C, H, W) -> (B, K) logits"""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                avgpool=nn.AdaptiveAvgPool2d(4),
                conv=ConvBN(channels, 128, 1),
                flatten=nn.Flatten(),
                fc=nn.Linear(128 * 4 * 4, 1024),
                relu_fc=nn.ReLU(),
                drop=nn.Dropout(0.7),
                classifier=nn.Linear(1024, num_classes),
            )
        )


class GoogLeNet(TrunkWithHeads):
    """(B, in_channels, 224, 224) -> (B, K) logits; in train mode with those of the two auxiliary heads."""

    auxiliary_weight = 0.3

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 64, 7, stride=2, padding=3),  # 64 x 112 x 112
                relu1=nn.ReLU(),
                pool1=_pool(),  # 64 x 56 x 56
                norm1=_normalise(),
                conv2_reduce=nn.Conv2d(64, 64, 1),  # 64 x 56 x 56
                relu2_reduce=nn.ReLU(),
                conv2=nn.Conv2d(64, 192, 3, padding=1),  # 192 x 56 x 56
                relu2=nn.ReLU(),
                norm2=_normalise(),
                pool2=_pool(),  # 192 x 28 x 28
                inception_3a=Inception(192, 64, (96, 128), (16, 32), 32),  # 256 x 28 x 28
                inception_3b=Inception(256, 128, (128, 192), (32, 96), 64),  # 480 x 28 x 28
                pool3=_pool(),  # 480 x 14 x 14
                inception_4a=Inception(480, 192, (96, 208), (16, 48), 64),  # 512 x 14 x 14
                aux1=Auxiliary(512, num_classes),
                inception_4b=Inception(512, 160, (112, 224), (24, 64), 64),  # 512 x 14 x 14
                inception_4c=Inception(512, 128, (128, 256), (24, 64), 64),  # 512 x 14 x 14
                inception_4d=Inception(512, 112, (144, 288), (32, 64), 64),  # 528 x 14 x 14
                aux2=Auxiliary(528, num_classes),
                inception_4e=Inception(528, 256, (160, 320), (32, 128), 128),  # 832 x 14 x 14
                pool4=_pool(),  # 832 x 7 x 7
                inception_5a=Inception(832, 256, (160, 320), (32, 128), 128),  # 832 x 7 x 7
                inception_5b=Inception(832, 384, (192, 384), (48, 128), 128),  # 1024 x 7 x 7
                pool5=nn.AdaptiveAvgPool2d(1),  # 1024 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.4),
                classifier=nn.Linear(1024, num_classes),  # 1000
            )
        )
        initialise(self, caffe_xavier, bias=0.2)
        for name, parameter in self.named_parameters():
            if name.endswith("classifier.bias"):
                nn.init.zeros_(parameter)


class GoogLeNetBN(TrunkWithHeads):
    """(B, in_channels, 224, 224) -> (B, K) logits; in train mode with those of the two auxiliary heads."""

    auxiliary_weight = 0.3

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=ConvBN(in_channels, 64, 7, stride=2),  # 64 x 112 x 112
                pool1=_pool(),  # 64 x 56 x 56
                conv2_reduce=ConvBN(64, 64, 1),  # 64 x 56 x 56
                conv2=ConvBN(64, 192, 3),  # 192 x 56 x 56
                pool2=_pool(),  # 192 x 28 x 28
                inception_3a=InceptionBN(192, 64, (96, 128), (16, 32), 32),  # 256 x 28 x 28
                inception_3b=InceptionBN(256, 128, (128, 192), (32, 96), 64),  # 480 x 28 x 28
                pool3=_pool(),  # 480 x 14 x 14
                inception_4a=InceptionBN(480, 192, (96, 208), (16, 48), 64),  # 512 x 14 x 14
                aux1=AuxiliaryBN(512, num_classes),
                inception_4b=InceptionBN(512, 160, (112, 224), (24, 64), 64),  # 512 x 14 x 14
                inception_4c=InceptionBN(512, 128, (128, 256), (24, 64), 64),  # 512 x 14 x 14
                inception_4d=InceptionBN(512, 112, (144, 288), (32, 64), 64),  # 528 x 14 x 14
                aux2=AuxiliaryBN(528, num_classes),
                inception_4e=InceptionBN(528, 256, (160, 320), (32, 128), 128),  # 832 x 14 x 14
                pool4=nn.MaxPool2d(2, stride=2, ceil_mode=True),  # 832 x 7 x 7
                inception_5a=InceptionBN(832, 256, (160, 320), (32, 128), 128),  # 832 x 7 x 7
                inception_5b=InceptionBN(832, 384, (192, 384), (48, 128), 128),  # 1024 x 7 x 7
                pool5=nn.AdaptiveAvgPool2d(1),  # 1024 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                classifier=nn.Linear(1024, num_classes),  # 1000
            )
        )
        initialise(self, cut_gaussian(0.01), bias=None)


@register(paper="szegedy2014_googlenet", input_shape=(3, 224, 224), aliases=("inception_v1", "bvlc_googlenet"))
def googlenet(*, num_classes: int = 1000, in_channels: int = 3) -> GoogLeNet:
    """GoogLeNet as published: response normalisation, 5x5 branches, two auxiliary heads weighted 0.3."""
    return GoogLeNet(num_classes=num_classes, in_channels=in_channels)


@register(paper="szegedy2014_googlenet", input_shape=(3, 224, 224))
def googlenet_bn(*, num_classes: int = 1000, in_channels: int = 3) -> GoogLeNetBN:
    """GoogLeNet as torchvision ships it: batch normalisation, 3x3 filters where the 5x5 stood."""
    return GoogLeNetBN(num_classes=num_classes, in_channels=in_channels)
