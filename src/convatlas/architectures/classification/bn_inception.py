"""BN-Inception: GoogLeNet whose layers are normalised over the mini-batch, and learn fourteen times as fast.

Ioffe, Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167.

Follows  The appendix for `bn_inception_separable`: the table (figure 5), and a separable first layer of depth
         multiplier 8, as the text beside it says. `bn_inception` has the table's widths and the first layer plain, as
         the nets that others trained from it; TensorFlow's slim/nets/inception_v2.py for `bn_inception_slim`, which
         has the first layer separable and the widths of 576.
Departs  Figure 5 prints an output of 576 maps for 4c and 4d, but its branches add up to 608; we take the branches, and
         tf-slim takes pool projections of 96 so that they add up to 576. The table's own row of the first layer can't
         be read as separable, the text can. Strided 3x3 convolutions pad both sides by 1, where
         TensorFlow pads even maps on one side only. Epsilon (0.001) and initialisation are tf-slim's.
Shapes   B batch, C channels, H x W map, s stride, K classes; N1, N3, D, P output channels of the four branches.
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.inception import Branches, ConvBN
from convatlas.blocks.init import he_normal, initialise
from convatlas.network import Network
from convatlas.registry import register

Pair = tuple[int, int]  # channels of the reduction, and of the filters after it


class MaxPool(nn.MaxPool2d):
    """3x3 with stride 2, of which no pixel is lost.  (B, C, H, W) -> (B, C, H/2, W/2), rounded up

    Windows overhang even maps on one side and odd maps on both.
    """

    def __init__(self) -> None:
        super().__init__(3, stride=2, ceil_mode=True)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        odd = (input.shape[2] % 2, input.shape[3] % 2)
        return F.max_pool2d(input, self.kernel_size, self.stride, odd, ceil_mode=True)


class Inception(Branches):
    """Two 3x3 in place of the 5x5.  (B, C, H, W) -> (B, N1 + N3 + D + P, H, W)"""

    def __init__(self, channels: int, n1: int, n3: Pair, d3: Pair, pool: Literal["avg", "max"], pool_proj: int) -> None:
        pooling = nn.MaxPool2d if pool == "max" else nn.AvgPool2d
        layer = pooling(3, stride=1, padding=1)
        if isinstance(layer, nn.AvgPool2d):
            layer.count_include_pad = False  # TensorFlow's averages are over pixels only
        super().__init__(
            {"1x1": ConvBN(channels, n1, 1)},
            {"3x3_reduce": ConvBN(channels, n3[0], 1), "3x3": ConvBN(*n3, 3)},
            {"d3x3_reduce": ConvBN(channels, d3[0], 1), "d3x3_1": ConvBN(*d3, 3), "d3x3_2": ConvBN(d3[1], d3[1], 3)},
            {"pool": layer, "pool_proj": ConvBN(channels, pool_proj, 1)},
        )


class Reduction(Branches):
    """The modules that halve the map and pass their input on, pooled.  (B, C, H, W) -> (B, N3 + D + C, H/2, W/2)"""

    def __init__(self, channels: int, n3: Pair, d3: Pair) -> None:
        super().__init__(
            {"3x3_reduce": ConvBN(channels, n3[0], 1), "3x3": ConvBN(*n3, 3, stride=2)},
            {
                "d3x3_reduce": ConvBN(channels, d3[0], 1),
                "d3x3_1": ConvBN(*d3, 3),
                "d3x3_2": ConvBN(d3[1], d3[1], 3, stride=2),
            },
            {"pool": MaxPool()},
        )


def _separable(in_channels: int) -> nn.Sequential:
    """7x7/2 with eight maps a channel, then 1x1; no non-linearity between.  (B, C, H, W) -> (B, 64, H/2, W/2)"""
    maps = 8 * in_channels
    return nn.Sequential(
        OrderedDict(
            depthwise=nn.Conv2d(in_channels, maps, 7, stride=2, padding=3, groups=in_channels, bias=False),
            pointwise=nn.Conv2d(maps, 64, 1, bias=False),
            bn=nn.BatchNorm2d(64, eps=1e-3),
            relu=nn.ReLU(),
        )
    )


class BNInception(Network, nn.Sequential):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller images are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=self.first_layer(in_channels),  # 64 x 112 x 112
                pool1=MaxPool(),  # 64 x 56 x 56
                conv2_reduce=ConvBN(64, 64, 1),  # 64 x 56 x 56
                conv2=ConvBN(64, 192, 3),  # 192 x 56 x 56
                pool2=MaxPool(),  # 192 x 28 x 28
                inception_3a=Inception(192, 64, (64, 64), (64, 96), "avg", 32),  # 256 x 28 x 28
                inception_3b=Inception(256, 64, (64, 96), (64, 96), "avg", 64),  # 320 x 28 x 28
                inception_3c=Reduction(320, (128, 160), (64, 96)),  # 576 x 14 x 14
                inception_4a=Inception(576, 224, (64, 96), (96, 128), "avg", 128),  # 576 x 14 x 14
                inception_4b=Inception(576, 192, (96, 128), (96, 128), "avg", 128),  # 576 x 14 x 14
                inception_4c=Inception(576, 160, (128, 160), (128, 160), "avg", 128),  # 608 x 14 x 14
                inception_4d=Inception(608, 96, (128, 192), (160, 192), "avg", 128),  # 608 x 14 x 14
                inception_4e=Reduction(608, (128, 192), (192, 256)),  # 1056 x 7 x 7
                inception_5a=Inception(1056, 352, (192, 320), (160, 224), "avg", 128),  # 1024 x 7 x 7
                inception_5b=Inception(1024, 352, (192, 320), (192, 224), "max", 128),  # 1024 x 7 x 7
                pool5=nn.AdaptiveAvgPool2d(1),  # 1024 x 1 x 1
                flatten=nn.Flatten(),
                classifier=nn.Linear(1024, num_classes),  # 1000
            )
        )
        initialise(self, he_normal())

    @staticmethod
    def first_layer(in_channels: int) -> nn.Module:
        return ConvBN(in_channels, 64, 7, stride=2)


class BNInceptionSeparable(BNInception):
    """The same with a separable first layer.  (B, in_channels, 224, 224) -> (B, K) logits"""

    @staticmethod
    def first_layer(in_channels: int) -> nn.Module:
        return _separable(in_channels)


class BNInceptionSlim(Network, nn.Sequential):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller images are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=_separable(in_channels),  # 64 x 112 x 112
                pool1=MaxPool(),  # 64 x 56 x 56
                conv2_reduce=ConvBN(64, 64, 1),  # 64 x 56 x 56
                conv2=ConvBN(64, 192, 3),  # 192 x 56 x 56
                pool2=MaxPool(),  # 192 x 28 x 28
                inception_3a=Inception(192, 64, (64, 64), (64, 96), "avg", 32),  # 256 x 28 x 28
                inception_3b=Inception(256, 64, (64, 96), (64, 96), "avg", 64),  # 320 x 28 x 28
                inception_3c=Reduction(320, (128, 160), (64, 96)),  # 576 x 14 x 14
                inception_4a=Inception(576, 224, (64, 96), (96, 128), "avg", 128),  # 576 x 14 x 14
                inception_4b=Inception(576, 192, (96, 128), (96, 128), "avg", 128),  # 576 x 14 x 14
                inception_4c=Inception(576, 160, (128, 160), (128, 160), "avg", 96),  # 576 x 14 x 14
                inception_4d=Inception(576, 96, (128, 192), (160, 192), "avg", 96),  # 576 x 14 x 14
                inception_4e=Reduction(576, (128, 192), (192, 256)),  # 1024 x 7 x 7
                inception_5a=Inception(1024, 352, (192, 320), (160, 224), "avg", 128),  # 1024 x 7 x 7
                inception_5b=Inception(1024, 352, (192, 320), (192, 224), "max", 128),  # 1024 x 7 x 7
                pool5=nn.AdaptiveAvgPool2d(1),  # 1024 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                classifier=nn.Linear(1024, num_classes),  # 1000
            )
        )
        initialise(self, he_normal())


@register(paper="ioffe2015_bn", input_shape=(3, 224, 224))
def bn_inception(*, num_classes: int = 1000, in_channels: int = 3) -> BNInception:
    """BN-Inception with the branch widths that figure 5 prints, and a plain first layer."""
    return BNInception(num_classes=num_classes, in_channels=in_channels)


@register(paper="ioffe2015_bn", input_shape=(3, 224, 224))
def bn_inception_separable(*, num_classes: int = 1000, in_channels: int = 3) -> BNInceptionSeparable:
    """BN-Inception of the appendix: the widths of figure 5, and a separable first layer of depth multiplier 8."""
    return BNInceptionSeparable(num_classes=num_classes, in_channels=in_channels)


@register(paper="ioffe2015_bn", input_shape=(3, 224, 224), aliases=("inception_v2",))
def bn_inception_slim(*, num_classes: int = 1000, in_channels: int = 3) -> BNInceptionSlim:
    """BN-Inception as tf-slim's inception_v2: a separable first layer, and 576 maps throughout stage 4."""
    return BNInceptionSlim(num_classes=num_classes, in_channels=in_channels)
