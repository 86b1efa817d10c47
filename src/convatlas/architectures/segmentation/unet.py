"""U-Net: a contracting path for what, an expanding path for where, and copies between them.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
arXiv:1505.04597.

Follows  Figure 1: 3x3 convolutions without padding, so that 572 px give 388 px of which all context is real. Weights
         start from N(0, 2/N), N the number of a neuron's inputs (section 3); biases at 0. `unet_phseg_v5_release`
         follows the authors' Caffe release: its last up-convolution keeps 128 maps, a ReLU follows each up-convolution,
         and the up-sampled map comes first in the concatenation. The levels d0 to d4 and u3 to u0, and the maps a to d
         of each, are named as in the release.
Departs  "Drop-out layers at the end of the contracting path" has neither place nor rate: they are the release's, 0.5
         after d3 (before it is pooled and copied) and after d4. Figure 1 draws the copied map first.
Shapes   B batch, C channels, H x W map, K classes.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.network import Network
from convatlas.registry import register


class TwoConvolutions(nn.Sequential):
    """3x3, ReLU, 3x3, ReLU, unpadded.  (B, C, H, W) -> (B, D, H - 4, W - 4)

    `maps` names them as the release does: "abc" are the maps before, between and after.
    """

    def __init__(self, maps: str, in_channels: int, out_channels: int) -> None:
        first, second, third = maps
        super().__init__(
            OrderedDict(
                {
                    f"{first}_{second}": nn.Conv2d(in_channels, out_channels, 3),
                    f"relu_{second}": nn.ReLU(),
                    f"{second}_{third}": nn.Conv2d(out_channels, out_channels, 3),
                    f"relu_{third}": nn.ReLU(),
                }
            )
        )


class EvenPool2d(nn.MaxPool2d):
    """2x2 max pooling of maps with even sides, so that no row is lost and tiles fit together (section 2).

    (B, C, H, W) -> (B, C, H / 2, W / 2)
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"a map of {x.shape[2]} x {x.shape[3]}; expected even sides")
        return F.max_pool2d(x, 2)


class CropConcat(nn.Module):
    """The middle of a copied map beside the up-sampled one.  (B, C, H, W), (B, D, h, w) -> (B, C + D, h, w)"""

    def __init__(self, *, copied_first: bool = True) -> None:
        super().__init__()
        self.copied_first = copied_first

    def forward(self, copied: Tensor, upsampled: Tensor) -> Tensor:
        height, width = upsampled.shape[2:]
        top, left = (copied.shape[2] - height) // 2, (copied.shape[3] - width) // 2
        middle = copied[:, :, top : top + height, left : left + width]
        return torch.cat([middle, upsampled] if self.copied_first else [upsampled, middle], 1)


class UNet(Network):
    """(B, in_channels, 572, 572) -> (B, K, 388, 388) logits of the pixels 92 px and more from the border.

    Sides of 188 px and each multiple of 16 px beyond fit; the output is 184 px shorter.

    Training: logits (B, K, h, w), with cross-entropy weighted near borders, equation 2.
    """

    last_upconv_maps = 64
    rectified_upconv = False
    copied_first = True

    def __init__(self, *, num_classes: int = 2, in_channels: int = 1) -> None:
        super().__init__()
        last = self.last_upconv_maps
        self.d0 = TwoConvolutions("abc", in_channels, 64)  # 64 x 568 x 568
        self.pool_d0 = EvenPool2d()  # 64 x 284 x 284
        self.d1 = TwoConvolutions("abc", 64, 128)  # 128 x 280 x 280
        self.pool_d1 = EvenPool2d()  # 128 x 140 x 140
        self.d2 = TwoConvolutions("abc", 128, 256)  # 256 x 136 x 136
        self.pool_d2 = EvenPool2d()  # 256 x 68 x 68
        self.d3 = TwoConvolutions("abc", 256, 512)  # 512 x 64 x 64
        self.dropout_d3c = nn.Dropout(0.5)
        self.pool_d3 = EvenPool2d()  # 512 x 32 x 32
        self.d4 = TwoConvolutions("abc", 512, 1024)  # 1024 x 28 x 28
        self.dropout_d4c = nn.Dropout(0.5)
        self.upconv_u3 = self._upconv(1024, 512)  # 512 x 56 x 56
        self.crop_concat_u3 = CropConcat(copied_first=self.copied_first)  # 1024 x 56 x 56
        self.u3 = TwoConvolutions("bcd", 1024, 512)  # 512 x 52 x 52
        self.upconv_u2 = self._upconv(512, 256)  # 256 x 104 x 104
        self.crop_concat_u2 = CropConcat(copied_first=self.copied_first)  # 512 x 104 x 104
        self.u2 = TwoConvolutions("bcd", 512, 256)  # 256 x 100 x 100
        self.upconv_u1 = self._upconv(256, 128)  # 128 x 200 x 200
        self.crop_concat_u1 = CropConcat(copied_first=self.copied_first)  # 256 x 200 x 200
        self.u1 = TwoConvolutions("bcd", 256, 128)  # 128 x 196 x 196
        self.upconv_u0 = self._upconv(128, last)
        self.crop_concat_u0 = CropConcat(copied_first=self.copied_first)
        self.u0 = TwoConvolutions("bcd", 64 + last, 64)  # 64 x 388 x 388
        self.score = nn.Conv2d(64, num_classes, 1)  # 2 x 388 x 388
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, std=math.sqrt(2 / _inputs(layer)))
                nn.init.zeros_(layer.get_parameter("bias"))

    def _upconv(self, in_channels: int, out_channels: int) -> nn.Module:
        """(B, C, H, W) -> (B, D, 2H, 2W)"""
        upconv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        return nn.Sequential(OrderedDict(upconv=upconv, relu=nn.ReLU())) if self.rectified_upconv else upconv

    def forward(self, x: Tensor) -> Tensor:
        d0c = self.d0(x)
        d1c = self.d1(self.pool_d0(d0c))
        d2c = self.d2(self.pool_d1(d1c))
        d3c = self.dropout_d3c(self.d3(self.pool_d2(d2c)))
        d4c = self.dropout_d4c(self.d4(self.pool_d3(d3c)))
        u3d = self.u3(self.crop_concat_u3(d3c, self.upconv_u3(d4c)))
        u2d = self.u2(self.crop_concat_u2(d2c, self.upconv_u2(u3d)))
        u1d = self.u1(self.crop_concat_u1(d1c, self.upconv_u1(u2d)))
        u0d = self.u0(self.crop_concat_u0(d0c, self.upconv_u0(u1d)))
        return self.score(u0d)


def _inputs(layer: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """How many values one output value is a sum of; a 2x2 up-convolution of stride 2 reads one position."""
    positions = math.prod(layer.kernel_size) // (math.prod(layer.stride) if layer.transposed else 1)
    return layer.in_channels * positions


class UNetReleased(UNet):
    """phseg_v5 of the authors' release.  (B, in_channels, 572, 572) -> (B, K, 388, 388) logits

    Training: logits (B, K, h, w), with cross-entropy weighted near borders, equation 2.
    """

    last_upconv_maps = 128
    rectified_upconv = True
    copied_first = False


@register(task="segmentation", paper="ronneberger2015_unet", input_shape=(1, 572, 572), num_classes=2)
def unet(*, num_classes: int = 2, in_channels: int = 1) -> UNet:
    """U-Net of figure 1: unpadded convolutions, 572 px in, 388 px out."""
    return UNet(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="ronneberger2015_unet", input_shape=(1, 572, 572), num_classes=2)
def unet_phseg_v5_release(*, num_classes: int = 2, in_channels: int = 1) -> UNetReleased:
    """U-Net as its authors released it for Caffe: 128 maps in the last up-convolution, which is rectified."""
    return UNetReleased(num_classes=num_classes, in_channels=in_channels)
