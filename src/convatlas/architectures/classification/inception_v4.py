"""Inception-v4: the Inception modules made uniform, once nothing had to be kept for the sake of earlier software.

Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
AAAI 2017, arXiv:1602.07261.

Follows  Figures 3 to 9; branches are joined in the order of TensorFlow's slim/nets/inception_v4.py, which released the
         weights, and numbered as there. Initialisation and epsilon are tf-slim's.
Departs  The figures do not say whether 7x1 is width by height; we read them as the release does. Its averages
         are over pixels only, so ours are too. tf-slim's auxiliary head is not in the figures, and left out.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.inception import Branches, ConvBN
from convatlas.blocks.init import he_normal, initialise
from convatlas.network import Network
from convatlas.registry import register


def _average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def stem(in_channels: int) -> nn.Sequential:
    """Figure 3.  (B, in_channels, 299, 299) -> (B, 384, 35, 35)"""
    return nn.Sequential(
        OrderedDict(
            conv1=ConvBN(in_channels, 32, 3, stride=2, valid=True),
            conv2=ConvBN(32, 32, 3, valid=True),
            conv3=ConvBN(32, 64, 3),
            mixed4=Branches(
                {"b0_0pool": nn.MaxPool2d(3, stride=2)},
                {"b1_0": ConvBN(64, 96, 3, stride=2, valid=True)},
            ),
            mixed5=Branches(
                {"b0_0": ConvBN(160, 64, 1), "b0_1": ConvBN(64, 96, 3, valid=True)},
                {
                    "b1_0": ConvBN(160, 64, 1),
                    "b1_1": ConvBN(64, 64, (1, 7)),
                    "b1_2": ConvBN(64, 64, (7, 1)),
                    "b1_3": ConvBN(64, 96, 3, valid=True),
                },
            ),
            mixed6=Branches(
                {"b0_0": ConvBN(192, 192, 3, stride=2, valid=True)},
                {"b1_0pool": nn.MaxPool2d(3, stride=2)},
            ),
        )
    )


class InceptionA(Branches):
    """Figure 4.  (B, 384, 35, 35) -> (B, 384, 35, 35)"""

    def __init__(self) -> None:
        super().__init__(
            {"b0_0": ConvBN(384, 96, 1)},
            {"b1_0": ConvBN(384, 64, 1), "b1_1": ConvBN(64, 96, 3)},
            {"b2_0": ConvBN(384, 64, 1), "b2_1": ConvBN(64, 96, 3), "b2_2": ConvBN(96, 96, 3)},
            {"b3_0pool": _average(), "b3_1": ConvBN(384, 96, 1)},
        )


class ReductionA(Branches):
    """Figure 7, with k, l, m, n of table 1.  (B, C, 35, 35) -> (B, C + m + n, 17, 17)"""

    def __init__(self, channels: int, k: int, l: int, m: int, n: int) -> None:  # noqa: E741 - the paper's letters
        super().__init__(
            {"b0_0": ConvBN(channels, n, 3, stride=2, valid=True)},
            {"b1_0": ConvBN(channels, k, 1), "b1_1": ConvBN(k, l, 3), "b1_2": ConvBN(l, m, 3, stride=2, valid=True)},
            {"b2_0pool": nn.MaxPool2d(3, stride=2)},
        )


class InceptionB(Branches):
    """Figure 5.  (B, 1024, 17, 17) -> (B, 1024, 17, 17)"""

    def __init__(self) -> None:
        super().__init__(
            {"b0_0": ConvBN(1024, 384, 1)},
            {"b1_0": ConvBN(1024, 192, 1), "b1_1": ConvBN(192, 224, (1, 7)), "b1_2": ConvBN(224, 256, (7, 1))},
            {
                "b2_0": ConvBN(1024, 192, 1),
                "b2_1": ConvBN(192, 192, (7, 1)),
                "b2_2": ConvBN(192, 224, (1, 7)),
                "b2_3": ConvBN(224, 224, (7, 1)),
                "b2_4": ConvBN(224, 256, (1, 7)),
            },
            {"b3_0pool": _average(), "b3_1": ConvBN(1024, 128, 1)},
        )


class ReductionB(Branches):
    """Figure 8.  (B, 1024, 17, 17) -> (B, 1536, 8, 8)"""

    def __init__(self) -> None:
        super().__init__(
            {"b0_0": ConvBN(1024, 192, 1), "b0_1": ConvBN(192, 192, 3, stride=2, valid=True)},
            {
                "b1_0": ConvBN(1024, 256, 1),
                "b1_1": ConvBN(256, 256, (1, 7)),
                "b1_2": ConvBN(256, 320, (7, 1)),
                "b1_3": ConvBN(320, 320, 3, stride=2, valid=True),
            },
            {"b2_0pool": nn.MaxPool2d(3, stride=2)},
        )


def _fan(in_channels: int) -> Branches:
    """1x3 and 3x1 side by side.  (B, C, H, W) -> (B, 512, H, W)"""
    return Branches({"a": ConvBN(in_channels, 256, (1, 3))}, {"b": ConvBN(in_channels, 256, (3, 1))})


class InceptionC(Branches):
    """Figure 6.  (B, 1536, 8, 8) -> (B, 1536, 8, 8)"""

    def __init__(self) -> None:
        super().__init__(
            {"b0_0": ConvBN(1536, 256, 1)},
            {"b1_0": ConvBN(1536, 384, 1), "b1_1": _fan(384)},
            {
                "b2_0": ConvBN(1536, 384, 1),
                "b2_1": ConvBN(384, 448, (3, 1)),
                "b2_2": ConvBN(448, 512, (1, 3)),
                "b2_3": _fan(512),
            },
            {"b3_0pool": _average(), "b3_1": ConvBN(1536, 256, 1)},
        )


class InceptionV4(Network, nn.Sequential):
    """(B, in_channels, 299, 299) -> (B, K) logits; larger images, and smaller ones from 75 px, are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                stem=stem(in_channels),  # 384 x 35 x 35
                A1=InceptionA(),  # 384 x 35 x 35
                A2=InceptionA(),  # 384 x 35 x 35
                A3=InceptionA(),  # 384 x 35 x 35
                A4=InceptionA(),  # 384 x 35 x 35
                redA=ReductionA(384, 192, 224, 256, 384),  # 1024 x 17 x 17
                B1=InceptionB(),  # 1024 x 17 x 17
                B2=InceptionB(),  # 1024 x 17 x 17
                B3=InceptionB(),  # 1024 x 17 x 17
                B4=InceptionB(),  # 1024 x 17 x 17
                B5=InceptionB(),  # 1024 x 17 x 17
                B6=InceptionB(),  # 1024 x 17 x 17
                B7=InceptionB(),  # 1024 x 17 x 17
                redB=ReductionB(),  # 1536 x 8 x 8
                C1=InceptionC(),  # 1536 x 8 x 8
                C2=InceptionC(),  # 1536 x 8 x 8
                C3=InceptionC(),  # 1536 x 8 x 8
                avgpool=nn.AdaptiveAvgPool2d(1),  # 1536 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                fc=nn.Linear(1536, num_classes),  # 1000
            )
        )
        initialise(self, he_normal())


@register(paper="szegedy2016_v4", input_shape=(3, 299, 299))
def inception_v4(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionV4:
    """Inception-v4: a larger and more uniform Inception without residual connections."""
    return InceptionV4(num_classes=num_classes, in_channels=in_channels)
