"""SegNet: a decoder that mirrors its encoder and unpools by the encoder's switches instead of copying its maps.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
TPAMI 2017, arXiv:1511.00561.

Follows  Figure 2 and the authors' release (SegNet-Tutorial): `segnet_camvid` has VGG-16's 13 convolutions and their
         mirror image, `segnet_basic` four encoders and four decoders of 64 filters 7x7, without ReLU in the decoder
         (section 3.1), `fcn_basic_camvid` the same encoder with FCN's decoder (figure 3): pooled maps reduced to K by
         1x1, 8x8 up-convolutions that start as bilinear interpolation, sums. Filters start from N(0, 2 / fan-in),
         normalisations from scale 1 and shift 0.001. Layer names are the release's, those of `fcn_basic_camvid` ours,
         since it was not released. Pooling windows that overhang the map are kept, as in Caffe.
Departs  Section 3.1 says that SegNet-Basic's convolutions have no biases; the release's have, and we follow it. The
         paper normalises the contrast of the input; the release does so by an LRN, in SegNet-Basic alone. What is
         bilinear in an 8x8 kernel of stride 2 is not said: ours holds the 4x4 kernel that doubles, in zeros. Where the
         encoder's maps are odd, the up-convolution's last row is cut off.
Shapes   B batch, C channels, H x W map, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.bilinear import bilinear_kernel
from convatlas.blocks.init import he_normal, initialise, initialise_norms
from convatlas.blocks.unpool import MirroredSequential, SwitchPool2d, SwitchUnpool2d
from convatlas.network import Network
from convatlas.registry import register

LEVELS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # maps and convolutions of each encoder


class SegNet(Network, MirroredSequential):
    """(B, in_channels, 360, 480) -> (B, K, 360, 480) logits; any size from 1 px on is accepted.

    Section 3 starts it from a trained VGG-16: `blocks.transplant.transplant(net, vgg.state_dict())`.
    """

    def __init__(self, *, num_classes: int = 11, in_channels: int = 3) -> None:
        super().__init__()
        channels = in_channels
        for level, (width, depth) in enumerate(LEVELS, start=1):
            for place in range(1, depth + 1):
                self._add_convolution(f"{level}_{place}", channels, width)
                channels = width
            self.add_module(f"pool{level}", SwitchPool2d(ceil_mode=True))
        for level, (width, depth) in reversed(list(enumerate(LEVELS, start=1))):
            self.add_module(f"upsample{level}", SwitchUnpool2d())
            for place in range(depth, 1, -1):
                self._add_convolution(f"{level}_{place}_D", width, width)
            if level > 1:
                self._add_convolution(f"{level}_1_D", width, LEVELS[level - 2][0])
        self.conv1_1_D = nn.Conv2d(64, num_classes, 3, padding=1)  # 11 x 360 x 480
        initialise(self, he_normal())
        initialise_norms(self, bias=0.001)

    def _add_convolution(self, name: str, in_channels: int, out_channels: int) -> None:
        self.add_module(f"conv{name}", nn.Conv2d(in_channels, out_channels, 3, padding=1))
        self.add_module(f"conv{name}_bn", nn.BatchNorm2d(out_channels))
        self.add_module(f"relu{name}", nn.ReLU())


class SegNetBasic(Network, MirroredSequential):
    """(B, in_channels, 360, 480) -> (B, K, 360, 480) logits; any size from 1 px on is accepted."""

    def __init__(self, *, num_classes: int = 11, in_channels: int = 3) -> None:
        super().__init__()
        _add_encoder(self, in_channels)
        for level in (4, 3, 2, 1):
            self.add_module(f"upsample{level}", SwitchUnpool2d())
            self.add_module(f"conv_decode{level}", nn.Conv2d(64, 64, 7, padding=3))
            self.add_module(f"conv_decode{level}_bn", nn.BatchNorm2d(64))
        self.conv_classifier = nn.Conv2d(64, num_classes, 1)  # 11 x 360 x 480
        initialise(self, he_normal())
        initialise_norms(self, bias=0.001)


class FCNBasic(Network):
    """(B, in_channels, 360, 480) -> (B, K, 360, 480) logits; any size from 1 px on is accepted."""

    def __init__(self, *, num_classes: int = 11, in_channels: int = 3) -> None:
        super().__init__()
        _add_encoder(self, in_channels)
        self.encoder = tuple(self._modules)  # names, in their order
        for level in (4, 3, 2, 1):
            self.add_module(f"score{level}", nn.Conv2d(64, num_classes, 1))
            self.add_module(f"upsample{level}", nn.ConvTranspose2d(num_classes, num_classes, 8, stride=2, padding=3))
        initialise(self, he_normal())
        initialise_norms(self, bias=0.001)
        for level in (4, 3, 2, 1):
            bilinear_(self.get_submodule(f"upsample{level}").get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        sizes, pooled = [x.shape[2:]], []
        for name in self.encoder:
            x = self.get_submodule(name)(x)
            if name.startswith("pool"):
                x, _ = x
                pooled.append(x)
                sizes.append(x.shape[2:])
        x = self.get_submodule("score4")(x)
        for level in (4, 3, 2, 1):
            height, width = sizes[level - 1]
            x = self.get_submodule(f"upsample{level}")(x)[:, :, :height, :width]
            if level > 1:
                x = x + self.get_submodule(f"score{level - 1}")(pooled[level - 2])
        return x


def _add_encoder(net: nn.Module, in_channels: int) -> None:
    """norm, conv1, conv1_bn, relu1, pool1, ..., pool4.  (B, in_channels, H, W) -> (B, 64, H / 16, W / 16)"""
    net.add_module("norm", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1))
    for level in (1, 2, 3, 4):
        net.add_module(f"conv{level}", nn.Conv2d(in_channels if level == 1 else 64, 64, 7, padding=3))
        net.add_module(f"conv{level}_bn", nn.BatchNorm2d(64))
        net.add_module(f"relu{level}", nn.ReLU())
        net.add_module(f"pool{level}", SwitchPool2d(ceil_mode=True))


def bilinear_(weight: Tensor) -> None:
    """Each map is doubled by bilinear interpolation, and none is mixed with another.  (K, K, 8, 8)"""
    kernel = F.pad(bilinear_kernel(4), (2, 2, 2, 2))
    with torch.no_grad():
        nn.init.zeros_(weight)
        weight[range(len(weight)), range(len(weight))] = kernel.to(weight)


@register(task="segmentation", paper="badrinarayanan2015_segnet", input_shape=(3, 360, 480), num_classes=11)
def segnet_camvid(*, num_classes: int = 11, in_channels: int = 3) -> SegNet:
    """SegNet on VGG-16's convolutions, for CamVid's 11 classes."""
    return SegNet(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="badrinarayanan2015_segnet", input_shape=(3, 360, 480), num_classes=11)
def segnet_basic(*, num_classes: int = 11, in_channels: int = 3) -> SegNetBasic:
    """SegNet-Basic: four encoders and four decoders of 64 filters 7x7, from scratch."""
    return SegNetBasic(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="badrinarayanan2015_segnet", input_shape=(3, 360, 480), num_classes=11)
def fcn_basic_camvid(*, num_classes: int = 11, in_channels: int = 3) -> FCNBasic:
    """FCN-Basic, to which the SegNet paper compares SegNet-Basic: its encoder with FCN's decoder."""
    return FCNBasic(num_classes=num_classes, in_channels=in_channels)
