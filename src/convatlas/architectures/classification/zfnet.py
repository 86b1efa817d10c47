"""ZFNet: AlexNet after its filters were looked at, with a finer and slower first layer.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013 (ECCV 2014).

Follows  Figure 3 and its caption for the order: rectified, pooled, then contrast normalised across maps. Section 3 for
         the initialisation and the limit on the filters.
Departs  The sizes of figure 3 (110, 55, 26, 13) need a padding of 1 in conv1 and pools that count a last, partial
         window; the paper prints neither. It prints no constants of the normalisation; ours are AlexNet's. "All weights
         are initialized to 10^-2" would leave all filters equal; we draw them from N(0, 0.01).
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

import torch
from torch import nn

from convatlas.blocks.init import gaussian, initialise
from convatlas.network import Network
from convatlas.registry import register


def _normalise() -> nn.LocalResponseNorm:
    """Over 5 neighbouring maps with AlexNet's constants; torch divides alpha by 5.  (B, C, H, W) -> (B, C, H, W)"""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)


class ZFNet(Network, nn.Sequential):
    """(B, in_channels, 224, 224) -> (B, K) logits."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 7, stride=2, padding=1),  # 96 x 110 x 110
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 96 x 55 x 55
                norm1=_normalise(),
                conv2=nn.Conv2d(96, 256, 5, stride=2),  # 256 x 26 x 26
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256 x 13 x 13
                norm2=_normalise(),
                conv3=nn.Conv2d(256, 384, 3, padding=1),  # 384 x 13 x 13
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 384, 3, padding=1),  # 384 x 13 x 13
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(384, 256, 3, padding=1),  # 256 x 13 x 13
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256 x 6 x 6
                flatten=nn.Flatten(),  # 9216
                fc6=nn.Linear(256 * 6 * 6, 4096),  # 4096
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )
        initialise(self, gaussian(0.01))


def renormalise_filters_(net: nn.Module, *, limit: float = 0.1) -> int:
    """Scales each convolution filter whose root mean square exceeds `limit` down to it, in place (section 3).

    The paper does so in training, after it saw a few filters of the first layer dominate the others.

    Returns:
        How many filters were scaled.
    """
    scaled = 0
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                rms = layer.weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()  # (C', 1, 1, 1)
                above = rms > limit
                layer.weight.mul_(torch.where(above, limit / rms, 1.0))
                scaled += int(above.sum())
    return scaled


@register(paper="zeiler2013", input_shape=(3, 224, 224))
def zfnet(*, num_classes: int = 1000, in_channels: int = 3) -> ZFNet:
    """ZFNet: AlexNet with 7x7 filters of stride 2 in conv1, stride 2 in conv2, and no groups."""
    return ZFNet(num_classes=num_classes, in_channels=in_channels)
