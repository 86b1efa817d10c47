"""Inception-ResNet: Inception modules as the residual of a shortcut, scaled down so that training stays stable.

Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
AAAI 2017, arXiv:1602.07261.

Follows  Figures 10 to 15 (v1) and 3, 15 to 19 (v2) for the paper's networks; TensorFlow's slim/nets/
         inception_resnet_v2.py for `inception_resnet_v2_released`, which is another network: the stem of Inception-v3,
         10/20/10 blocks in place of 5/10/5, other widths, one convolution more, and an auxiliary head.
Departs  The figures print linear layers of 1154 and 2048 maps (v2) and 896 in the last stage (v1), to which nothing can
         be added; they must be 1152, 2144 and 1792. Of scales the paper says "0.1 to 0.3"; we take the release's 0.17,
         0.10 and 0.20. Epsilon and initialisation are tf-slim's.
Shapes   B batch, C channels, H x W map, K classes. Branches are numbered as in tf-slim.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from convatlas.architectures.classification.inception_v4 import ReductionA, stem
from convatlas.blocks.inception import AuxiliaryHead, AuxiliaryPool, Branches, ConvBN, TrunkWithHeads
from convatlas.blocks.init import he_normal, initialise
from convatlas.network import Network
from convatlas.registry import register


class Residual(Branches):
    """Branches and a linear 1x1 convolution, scaled, beside the identity.  (B, C, H, W) -> (B, C, H, W)

    `width` is the sum of the branches' channels.
    """

    def __init__(
        self, *branches: Mapping[str, nn.Module], width: int, channels: int, scale: float, relu: bool = True
    ) -> None:
        super().__init__(*branches)
        self.linear = nn.Conv2d(width, channels, 1)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.scale * self.linear(super().forward(x)))


def _block_a(channels: int, last: tuple[int, int]) -> Residual:
    """Figures 10 and 16; `last` are the channels of the two 3x3 of the longest branch.  (B, C, 35, 35) -> the same"""
    return Residual(
        {"b0_0": ConvBN(channels, 32, 1)},
        {"b1_0": ConvBN(channels, 32, 1), "b1_1": ConvBN(32, 32, 3)},
        {"b2_0": ConvBN(channels, 32, 1), "b2_1": ConvBN(32, last[0], 3), "b2_2": ConvBN(last[0], last[1], 3)},
        width=64 + last[1],
        channels=channels,
        scale=0.17,
    )


def _block_b(channels: int, n1: int, n7: tuple[int, int, int]) -> Residual:
    """Figures 11 and 17.  (B, C, 17, 17) -> the same"""
    return Residual(
        {"b0_0": ConvBN(channels, n1, 1)},
        {
            "b1_0": ConvBN(channels, n7[0], 1),
            "b1_1": ConvBN(n7[0], n7[1], (1, 7)),
            "b1_2": ConvBN(n7[1], n7[2], (7, 1)),
        },
        width=n1 + n7[2],
        channels=channels,
        scale=0.10,
    )


def _block_c(channels: int, n3: tuple[int, int], *, scale: float = 0.20, relu: bool = True) -> Residual:
    """Figures 13 and 19.  (B, C, 8, 8) -> the same"""
    return Residual(
        {"b0_0": ConvBN(channels, 192, 1)},
        {"b1_0": ConvBN(channels, 192, 1), "b1_1": ConvBN(192, n3[0], (1, 3)), "b1_2": ConvBN(n3[0], n3[1], (3, 1))},
        width=192 + n3[1],
        channels=channels,
        scale=scale,
        relu=relu,
    )


def _reduction_b(channels: int, n1: int, n2: tuple[int, int]) -> Branches:
    """Figures 12 and 18.  (B, C, 17, 17) -> (B, C + 384 + n1 + n2[1], 8, 8)"""
    return Branches(
        {"b0_0": ConvBN(channels, 256, 1), "b0_1": ConvBN(256, 384, 3, stride=2, valid=True)},
        {"b1_0": ConvBN(channels, 256, 1), "b1_1": ConvBN(256, n1, 3, stride=2, valid=True)},
        {
            "b2_0": ConvBN(channels, 256, 1),
            "b2_1": ConvBN(256, n2[0], 3),
            "b2_2": ConvBN(n2[0], n2[1], 3, stride=2, valid=True),
        },
        {"b3_0pool": nn.MaxPool2d(3, stride=2)},
    )


def _repeat(depth: int, block: Callable[[], nn.Module]) -> nn.Sequential:
    """Blocks 1 to `depth`.  (B, C, H, W) -> the same"""
    return nn.Sequential(OrderedDict((str(index), block()) for index in range(1, depth + 1)))


def _stem_v1(in_channels: int) -> nn.Sequential:
    """Figure 14.  (B, in_channels, 299, 299) -> (B, 256, 35, 35)"""
    return nn.Sequential(
        OrderedDict(
            conv1=ConvBN(in_channels, 32, 3, stride=2, valid=True),
            conv2=ConvBN(32, 32, 3, valid=True),
            conv3=ConvBN(32, 64, 3),
            pool4=nn.MaxPool2d(3, stride=2),
            conv5=ConvBN(64, 80, 1),
            conv6=ConvBN(80, 192, 3, valid=True),
            conv7=ConvBN(192, 256, 3, stride=2, valid=True),
        )
    )


def _mixed_5b() -> Branches:
    """(B, 192, 35, 35) -> (B, 320, 35, 35)"""
    return Branches(
        {"b0_0": ConvBN(192, 96, 1)},
        {"b1_0": ConvBN(192, 48, 1), "b1_1": ConvBN(48, 64, 5)},
        {"b2_0": ConvBN(192, 64, 1), "b2_1": ConvBN(64, 96, 3), "b2_2": ConvBN(96, 96, 3)},
        {"b3_0pool": nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), "b3_1": ConvBN(192, 64, 1)},
    )


def _auxiliary(num_classes: int) -> AuxiliaryHead:
    """(B, 1088, 17, 17) -> (B, K) logits"""
    return AuxiliaryHead(
        OrderedDict(
            pool=AuxiliaryPool(5),
            conv0=ConvBN(1088, 128, 1),
            conv1=ConvBN(128, 768, 5, valid=True),
            flatten=nn.Flatten(),
            fc=nn.Linear(768, num_classes),
        )
    )


class InceptionResNetV1(Network, nn.Sequential):
    """(B, in_channels, 299, 299) -> (B, K) logits; larger images, and smaller ones from 75 px, are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                stem=_stem_v1(in_channels),  # 256 x 35 x 35
                A=_repeat(5, lambda: _block_a(256, (32, 32))),  # 256 x 35 x 35
                redA=ReductionA(256, 192, 192, 256, 384),  # 896 x 17 x 17
                B=_repeat(10, lambda: _block_b(896, 128, (128, 128, 128))),  # 896 x 17 x 17
                redB=_reduction_b(896, 256, (256, 256)),  # 1792 x 8 x 8
                C=_repeat(5, lambda: _block_c(1792, (192, 192))),  # 1792 x 8 x 8
                avgpool=nn.AdaptiveAvgPool2d(1),  # 1792 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                fc=nn.Linear(1792, num_classes),  # 1000
            )
        )
        initialise(self, he_normal())


class InceptionResNetV2(Network, nn.Sequential):
    """(B, in_channels, 299, 299) -> (B, K) logits; larger images, and smaller ones from 75 px, are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                stem=stem(in_channels),  # 384 x 35 x 35
                A=_repeat(5, lambda: _block_a(384, (48, 64))),  # 384 x 35 x 35
                redA=ReductionA(384, 256, 256, 384, 384),  # 1152 x 17 x 17
                B=_repeat(10, lambda: _block_b(1152, 192, (128, 160, 192))),  # 1152 x 17 x 17
                redB=_reduction_b(1152, 288, (288, 320)),  # 2144 x 8 x 8
                C=_repeat(5, lambda: _block_c(2144, (224, 256))),  # 2144 x 8 x 8
                avgpool=nn.AdaptiveAvgPool2d(1),  # 2144 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                fc=nn.Linear(2144, num_classes),  # 1000
            )
        )
        initialise(self, he_normal())


class InceptionResNetV2Released(TrunkWithHeads):
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
                mixed_5b=_mixed_5b(),  # 320 x 35 x 35
                block35=_repeat(10, lambda: _block_a(320, (48, 64))),  # 320 x 35 x 35
                mixed_6a=ReductionA(320, 256, 256, 384, 384),  # 1088 x 17 x 17
                block17=_repeat(20, lambda: _block_b(1088, 192, (128, 160, 192))),  # 1088 x 17 x 17
                aux=_auxiliary(num_classes),
                mixed_7a=_reduction_b(1088, 288, (288, 320)),  # 2080 x 8 x 8
                block8=_repeat(9, lambda: _block_c(2080, (224, 256))),  # 2080 x 8 x 8
                conv7b=ConvBN(2080, 1536, 1),  # 1536 x 8 x 8
                avgpool=nn.AdaptiveAvgPool2d(1),  # 1536 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                fc=nn.Linear(1536, num_classes),  # 1000
            )
        )
        # The last block is neither scaled nor followed by a ReLU.
        self.get_submodule("block8").add_module("10", _block_c(2080, (224, 256), scale=1.0, relu=False))
        initialise(self, he_normal())


@register(paper="szegedy2016_v4", input_shape=(3, 299, 299))
def inception_resnet_v1(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionResNetV1:
    """Inception-ResNet-v1 by the paper's figures, at about the cost of Inception-v3."""
    return InceptionResNetV1(num_classes=num_classes, in_channels=in_channels)


@register(paper="szegedy2016_v4", input_shape=(3, 299, 299))
def inception_resnet_v2_paper(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionResNetV2:
    """Inception-ResNet-v2 by the paper's figures: the stem of Inception-v4, then 5, 10 and 5 blocks."""
    return InceptionResNetV2(num_classes=num_classes, in_channels=in_channels)


@register(paper="szegedy2016_v4", input_shape=(3, 299, 299), aliases=("inception_resnet_v2",))
def inception_resnet_v2_released(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionResNetV2Released:
    """Inception-ResNet-v2 as Google released it: 10, 20 and 10 blocks, and an auxiliary head."""
    return InceptionResNetV2Released(num_classes=num_classes, in_channels=in_channels)
