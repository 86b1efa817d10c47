"""A small U-Net for the vessels of the retina, trained on patches of 48 px, whose weights were released.

Orobix, "Retina blood vessel segmentation with a convolution neural network (U-net)", 2016, released as retina-unet;
after Ronneberger, Fischer, Brox 2015.

Follows  The code of 2016 (Keras 1.1) and its weights: two poolings, 32, 64 and 128 maps, padded 3x3 convolutions in
         pairs with dropout of 0.2 between, up-sampling by repetition without a convolution; the up-sampled maps come
         first in each concatenation. The two logits are rectified before the softmax. Names are ours, by level.
Departs  It is no U-Net of the paper: padded, two levels fewer, no up-convolutions. The code was read in later versions
         and quotations; that up-sampled maps come first is what its weights say (the other order segments nothing).
         Filters are as stored. Keras on Theano turned them by half a turn and Keras on TensorFlow did not; which it was
         is not stored, and turned filters only give the output for the turned image.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convatlas.blocks.init import initialise
from convatlas.network import Network
from convatlas.registry import register


def _pair(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two convolutions with dropout between.  (B, C, H, W) -> (B, D, H, W)"""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, out_channels, 3, padding=1),
            relu1=nn.ReLU(),
            dropout=nn.Dropout(0.2),
            conv2=nn.Conv2d(out_channels, out_channels, 3, padding=1),
            relu2=nn.ReLU(),
        )
    )


class RetinaUNet(Network):
    """(B, in_channels, 48, 48) -> (B, K, 48, 48) logits, none below 0; multiples of 4 px are accepted."""

    def __init__(self, *, num_classes: int = 2, in_channels: int = 1) -> None:
        super().__init__()
        self.down1 = _pair(in_channels, 32)  # 32 x 48 x 48
        self.pool1 = nn.MaxPool2d(2)  # 32 x 24 x 24
        self.down2 = _pair(32, 64)  # 64 x 24 x 24
        self.pool2 = nn.MaxPool2d(2)  # 64 x 12 x 12
        self.bottom = _pair(64, 128)  # 128 x 12 x 12
        self.upsample2 = nn.Upsample(scale_factor=2, mode="nearest")  # 128 x 24 x 24
        self.up2 = _pair(128 + 64, 64)  # 64 x 24 x 24
        self.upsample1 = nn.Upsample(scale_factor=2, mode="nearest")  # 64 x 48 x 48
        self.up1 = _pair(64 + 32, 32)  # 32 x 48 x 48
        self.score = nn.Conv2d(32, num_classes, 1)  # 2 x 48 x 48
        self.relu_score = nn.ReLU()  # 2 x 48 x 48
        initialise(self, nn.init.xavier_uniform_)  # Keras's default

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.down1(x)
        down2 = self.down2(self.pool1(down1))
        bottom = self.bottom(self.pool2(down2))
        up2 = self.up2(torch.cat([self.upsample2(bottom), down2], 1))
        up1 = self.up1(torch.cat([self.upsample1(up2), down1], 1))
        return self.relu_score(self.score(up1))


@register(task="segmentation", paper="ronneberger2015_unet", input_shape=(1, 48, 48), num_classes=2)
def retina_unet_orobix(*, num_classes: int = 2, in_channels: int = 1) -> RetinaUNet:
    """A small padded U-Net for the vessels of the retina, as Orobix released it with its weights."""
    return RetinaUNet(num_classes=num_classes, in_channels=in_channels)
