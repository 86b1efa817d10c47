"""Inception-v2 and v3: filters factorised until a convolution is a 1x7 after a 7x1.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
arXiv:1512.00567.

Follows  Table 1 and figures 5, 6, 7 and 10 for `inception_v2_rethinking`. `inception_v3` follows the released network
         (TensorFlow's slim/nets/inception_v3.py) as torchvision ships it: averages over the padding too, a learned
         scale in the normalisation. Its auxiliary head follows the last 17 x 17 module.
Departs  Table 1 gives the grid sizes at which each group of modules begins; the filter banks stood in a supplement.
         In `inception_v2_rethinking` these are ours: the banks of v3 in the paper's modules, and a grid reduction
         (figure 10) as the last of the three and of the five modules, which is how v3 counts. Epsilon and
         initialisation are tf-slim's. The paper gives no weight for the auxiliary loss; 0.4 is the release's.
Shapes   B batch, C channels, H x W map, K classes. Layers and branches are numbered as in tf-slim.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.inception import AuxiliaryHead, AuxiliaryPool, Branches, ConvBN, TrunkWithHeads
from convatlas.blocks.init import cut_gaussian, initialise
from convatlas.network import Network
from convatlas.registry import register


def _average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=1, padding=1)


def _figure_5(channels: int, *, filters: int, pool: int) -> Branches:
    """`filters` is 5 in v3, which kept the 5x5, and 3 in v2.  (B, C, 35, 35) -> (B, 224 + pool, 35, 35)"""
    return Branches(
        {"b0_0": ConvBN(channels, 64, 1)},
        {"b1_0": ConvBN(channels, 48, 1), "b1_1": ConvBN(48, 64, filters)},
        {"b2_0": ConvBN(channels, 64, 1), "b2_1": ConvBN(64, 96, 3), "b2_2": ConvBN(96, 96, 3)},
        {"b3_0pool": _average(), "b3_1": ConvBN(channels, pool, 1)},
    )


def _figure_6(channels: int, width: int) -> Branches:
    """n x n as 1 x n after n x 1, with n = 7.  (B, 768, 17, 17) -> (B, 768, 17, 17)"""
    return Branches(
        {"b0_0": ConvBN(channels, 192, 1)},
        {"b1_0": ConvBN(channels, width, 1), "b1_1": ConvBN(width, width, (1, 7)), "b1_2": ConvBN(width, 192, (7, 1))},
        {
            "b2_0": ConvBN(channels, width, 1),
            "b2_1": ConvBN(width, width, (7, 1)),
            "b2_2": ConvBN(width, width, (1, 7)),
            "b2_3": ConvBN(width, width, (7, 1)),
            "b2_4": ConvBN(width, 192, (1, 7)),
        },
        {"b3_0pool": _average(), "b3_1": ConvBN(channels, 192, 1)},
    )


def _fan(channels: int) -> Branches:
    """1x3 and 3x1 side by side.  (B, C, 8, 8) -> (B, 768, 8, 8)"""
    return Branches({"a": ConvBN(channels, 384, (1, 3))}, {"b": ConvBN(channels, 384, (3, 1))})


def _figure_7(channels: int) -> Branches:
    """(B, C, 8, 8) -> (B, 2048, 8, 8)"""
    return Branches(
        {"b0_0": ConvBN(channels, 320, 1)},
        {"b1_0": ConvBN(channels, 384, 1), "b1_1": _fan(384)},
        {"b2_0": ConvBN(channels, 448, 1), "b2_1": ConvBN(448, 384, 3), "b2_2": _fan(384)},
        {"b3_0pool": _average(), "b3_1": ConvBN(channels, 192, 1)},
    )


def _figure_10(channels: int, n1: tuple[int, int], n2: tuple[int, int]) -> Branches:
    """Convolutions and pooling halve the map side by side.  (B, C, H, W) -> (B, n1[1] + n2[1] + C, H/2, W/2)"""
    return Branches(
        {"b0_0": ConvBN(channels, n1[0], 1), "b0_1": ConvBN(*n1, 3, stride=2, valid=True)},
        {
            "b1_0": ConvBN(channels, n2[0], 1),
            "b1_1": ConvBN(*n2, 3),
            "b1_2": ConvBN(n2[1], n2[1], 3, stride=2, valid=True),
        },
        {"b2_0pool": nn.MaxPool2d(3, stride=2)},
    )


def _mixed_6a() -> Branches:
    """(B, 288, 35, 35) -> (B, 768, 17, 17)"""
    return Branches(
        {"b0_0": ConvBN(288, 384, 3, stride=2, valid=True)},
        {"b1_0": ConvBN(288, 64, 1), "b1_1": ConvBN(64, 96, 3), "b1_2": ConvBN(96, 96, 3, stride=2, valid=True)},
        {"b2_0pool": nn.MaxPool2d(3, stride=2)},
    )


def _mixed_7a() -> Branches:
    """(B, 768, 17, 17) -> (B, 1280, 8, 8)"""
    return Branches(
        {"b0_0": ConvBN(768, 192, 1), "b0_1": ConvBN(192, 320, 3, stride=2, valid=True)},
        {
            "b1_0": ConvBN(768, 192, 1),
            "b1_1": ConvBN(192, 192, (1, 7)),
            "b1_2": ConvBN(192, 192, (7, 1)),
            "b1_3": ConvBN(192, 192, 3, stride=2, valid=True),
        },
        {"b2_0pool": nn.MaxPool2d(3, stride=2)},
    )


def _auxiliary(num_classes: int) -> AuxiliaryHead:
    """Figure 8, normalised ("BN-auxiliary").  (B, 768, 17, 17) -> (B, K) logits"""
    return AuxiliaryHead(
        OrderedDict(
            pool=AuxiliaryPool(5),
            conv0=ConvBN(768, 128, 1),
            conv1=ConvBN(128, 768, 5, valid=True),
            flatten=nn.Flatten(),
            fc=nn.Linear(768, num_classes),
        )
    )


class InceptionV2(Network, nn.Sequential):
    """(B, in_channels, 299, 299) -> (B, K) logits; larger images, and smaller ones from 75 px, are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=ConvBN(in_channels, 32, 3, stride=2, valid=True),  # 32 x 149 x 149
                conv2=ConvBN(32, 32, 3, valid=True),  # 32 x 147 x 147
                conv3=ConvBN(32, 64, 3),  # 64 x 147 x 147
                pool3=nn.MaxPool2d(3, stride=2),  # 64 x 73 x 73
                conv4=ConvBN(64, 80, 3, valid=True),  # 80 x 71 x 71
                conv5=ConvBN(80, 192, 3, stride=2, valid=True),  # 192 x 35 x 35
                conv6=ConvBN(192, 288, 3),  # 288 x 35 x 35
                mixed_5a=_figure_5(288, filters=3, pool=64),  # 288 x 35 x 35
                mixed_5b=_figure_5(288, filters=3, pool=64),  # 288 x 35 x 35
                mixed_5c=_figure_10(288, (64, 384), (64, 96)),  # 768 x 17 x 17
                mixed_6a=_figure_6(768, 128),  # 768 x 17 x 17
                mixed_6b=_figure_6(768, 160),  # 768 x 17 x 17
                mixed_6c=_figure_6(768, 160),  # 768 x 17 x 17
                mixed_6d=_figure_6(768, 192),  # 768 x 17 x 17
                mixed_6e=_figure_10(768, (192, 320), (192, 192)),  # 1280 x 8 x 8
                mixed_7a=_figure_7(1280),  # 2048 x 8 x 8
                mixed_7b=_figure_7(2048),  # 2048 x 8 x 8
                pool=nn.AdaptiveAvgPool2d(1),  # 2048 x 1 x 1
                flatten=nn.Flatten(),
                fc=nn.Linear(2048, num_classes),  # 1000
            )
        )
        initialise(self, cut_gaussian(0.1))


class InceptionV3(TrunkWithHeads):
    """(B, in_channels, 299, 299) -> (B, K) logits; in train mode with those of the auxiliary head."""

    auxiliary_weight = 0.4

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1a=ConvBN(in_channels, 32, 3, stride=2, valid=True),  # 32 x 149 x 149
                conv2a=ConvBN(32, 32, 3, valid=True),  # 32 x 147 x 147
                conv2b=ConvBN(32, 64, 3),  # 64 x 147 x 147
                pool3a=nn.MaxPool2d(3, stride=2),  # 64 x 73 x 73
                conv3b=ConvBN(64, 80, 1),  # 80 x 73 x 73
                conv4a=ConvBN(80, 192, 3, valid=True),  # 192 x 71 x 71
                pool5a=nn.MaxPool2d(3, stride=2),  # 192 x 35 x 35
                mixed_5b=_figure_5(192, filters=5, pool=32),  # 256 x 35 x 35
                mixed_5c=_figure_5(256, filters=5, pool=64),  # 288 x 35 x 35
                mixed_5d=_figure_5(288, filters=5, pool=64),  # 288 x 35 x 35
                mixed_6a=_mixed_6a(),  # 768 x 17 x 17
                mixed_6b=_figure_6(768, 128),  # 768 x 17 x 17
                mixed_6c=_figure_6(768, 160),  # 768 x 17 x 17
                mixed_6d=_figure_6(768, 160),  # 768 x 17 x 17
                mixed_6e=_figure_6(768, 192),  # 768 x 17 x 17
                aux=_auxiliary(num_classes),
                mixed_7a=_mixed_7a(),  # 1280 x 8 x 8
                mixed_7b=_figure_7(1280),  # 2048 x 8 x 8
                mixed_7c=_figure_7(2048),  # 2048 x 8 x 8
                avgpool=nn.AdaptiveAvgPool2d(1),  # 2048 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                fc=nn.Linear(2048, num_classes),  # 1000
            )
        )
        initialise(
            self, cut_gaussian(0.1), by_name={"aux.conv1.conv": cut_gaussian(0.01), "aux.fc": cut_gaussian(0.001)}
        )


@register(paper="szegedy2015_rethinking", input_shape=(3, 299, 299))
def inception_v2_rethinking(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionV2:
    """Inception-v2 as far as table 1 of the Rethinking paper fixes it; the filter banks are ours."""
    return InceptionV2(num_classes=num_classes, in_channels=in_channels)


@register(paper="szegedy2015_rethinking", input_shape=(3, 299, 299))
def inception_v3(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionV3:
    """Inception-v3 as released: factorised filters, and a normalised auxiliary head on the last 17 x 17 map."""
    return InceptionV3(num_classes=num_classes, in_channels=in_channels)
