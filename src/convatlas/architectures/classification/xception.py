"""Xception: Inception taken to its end, where every channel is filtered by itself before the channels are mixed.

Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, arXiv:1610.02357.

Follows  Figure 5; layer names, initialisation and epsilon are those of keras-applications' xception.py.
Departs  Pooling pads both sides by 1, as the ports to torch do, where TensorFlow pads maps of even size (the 74 px one)
         on one side only; all sizes are the same.
Shapes   B batch, C channels, N channels of a block, H x W map, s stride, K classes.
"""

import itertools
from collections import OrderedDict

from torch import Tensor, nn

from convatlas.blocks.inception import ConvBN
from convatlas.blocks.init import initialise
from convatlas.blocks.residual import Residual
from convatlas.network import Network
from convatlas.registry import register


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 on each channel, then 1x1 across, with nothing between.  (B, C, H, W) -> (B, N, H, W)"""
    return nn.Sequential(
        OrderedDict(
            depthwise=nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            pointwise=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            bn=nn.BatchNorm2d(out_channels, eps=1e-3),
        )
    )


class Block(Residual, nn.Sequential):
    """Separable convolutions, each after a ReLU, beside a shortcut.  (B, C, H, W) -> (B, N, H/s, W/s), s is 1 or 2

    `channels` are those of the input and after each convolution. A block that does not keep them pools with stride 2,
    and so does its shortcut.
    """

    def __init__(self, *channels: int, leading_relu: bool = True) -> None:
        layers = OrderedDict[str, nn.Module]()
        for index, (before, after) in enumerate(itertools.pairwise(channels), start=1):
            if index > 1 or leading_relu:
                layers[f"relu{index}"] = nn.ReLU()
            layers[f"sepconv{index}"] = _separable(before, after)
        shortcut: nn.Module = nn.Identity()
        if channels[0] != channels[-1]:
            layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
            shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(channels[0], channels[-1], 1, stride=2, bias=False),
                    bn=nn.BatchNorm2d(channels[-1], eps=1e-3),
                )
            )
        super().__init__(layers)
        self.shortcut = shortcut

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        residual = input
        for layer in self:
            if layer is not self.shortcut:
                residual = layer(residual)
        return residual + self.shortcut(input)


class Xception(Network, nn.Sequential):
    """(B, in_channels, 299, 299) -> (B, K) logits; larger and smaller images are accepted too."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                # Entry flow.
                block1_conv1=ConvBN(in_channels, 32, 3, stride=2, valid=True),  # 32 x 149 x 149
                block1_conv2=ConvBN(32, 64, 3, valid=True),  # 64 x 147 x 147
                block2=Block(64, 128, 128, leading_relu=False),  # 128 x 74 x 74
                block3=Block(128, 256, 256),  # 256 x 37 x 37
                block4=Block(256, 728, 728),  # 728 x 19 x 19
                # Middle flow.
                block5=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block6=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block7=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block8=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block9=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block10=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block11=Block(728, 728, 728, 728),  # 728 x 19 x 19
                block12=Block(728, 728, 728, 728),  # 728 x 19 x 19
                # Exit flow.
                block13=Block(728, 728, 1024),  # 1024 x 10 x 10
                block14_sepconv1=_separable(1024, 1536),  # 1536 x 10 x 10
                block14_relu1=nn.ReLU(),
                block14_sepconv2=_separable(1536, 2048),  # 2048 x 10 x 10
                block14_relu2=nn.ReLU(),
                avgpool=nn.AdaptiveAvgPool2d(1),  # 2048 x 1 x 1
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.5),
                fc=nn.Linear(2048, num_classes),  # 1000
            )
        )
        initialise(self, nn.init.xavier_uniform_)  # "glorot_uniform", the default of Keras


@register(paper="chollet2016_xception", input_shape=(3, 299, 299), aliases=("legacy_xception",))
def xception(*, num_classes: int = 1000, in_channels: int = 3) -> Xception:
    """Xception: 34 depthwise separable convolutions with shortcuts around them."""
    return Xception(num_classes=num_classes, in_channels=in_channels)
