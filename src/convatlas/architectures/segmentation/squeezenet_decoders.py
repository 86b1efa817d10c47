"""FCN's and U-Net's decoders on SqueezeNet 1.1: segmenters that learn in minutes without a GPU.

Decoders: Long, Shelhamer, Darrell, CVPR 2015, and Ronneberger, Fischer, Brox, MICCAI 2015. Encoder: Iandola et al.,
arXiv:1602.07360. The combinations are this project's.

Follows  FCN-8s: scores at strides of 32, 16 and 8, zero at first, enlarged bilinearly and added. U-Net:
         up-convolutions, each joined with the encoder's map of that size. The encoder's layers have SqueezeNet's names
         and take its trained weights.
Departs  conv1 is padded by 1 instead of 0. So no border is needed: kernels of odd sides put every map on the places of
         the finer one, 8 i + 6 on 4 i + 2 on 2 i, and only the last offset is not 0. SqueezeNet has strides up to 16;
         FCN's 32 is a pooled fire module more. U-Net's two 3x3 convolutions a level are a fire module here, which costs
         a tenth; the finest level has half of the image's resolution.
Shapes   B batch, C channels, H x W image, K classes, h x w coarse map.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.squeezenet import Fire, SqueezeNetV11
from convatlas.architectures.segmentation.fcn import FCN, score
from convatlas.blocks.bilinear import BilinearUpsampling
from convatlas.blocks.crop import Crop
from convatlas.blocks.init import he_normal, initialise
from convatlas.registry import register


def encoder(in_channels: int) -> "OrderedDict[str, nn.Module]":
    """SqueezeNet 1.1 from conv1 to fire9.  (B, in_channels, H, W) -> (B, 512, about H / 16, W / 16)"""
    net = SqueezeNetV11(num_classes=1, in_channels=in_channels)
    conv1 = net.get_submodule("conv1")
    assert isinstance(conv1, nn.Conv2d)
    conv1.padding = (1, 1)
    names = list(net._modules)
    return OrderedDict((name, net.get_submodule(name)) for name in names[: names.index("drop9")])


class FCN8sSqueezeNet(FCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits, for images of any size from 31 px."""

    skips = ("fire5", "fire9")
    own_layers = ("fire10.",)

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        trunk = encoder(in_channels)
        trunk["pool9"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        trunk["fire10"] = Fire(512, squeeze=64, expand=256)
        initialise(trunk["fire10"].children(), he_normal())
        trunk["drop10"] = nn.Dropout(0.5)
        super().__init__(trunk)
        self.score_fr = score(512, num_classes)  # 11 x 11 x 15
        self.upscore2 = BilinearUpsampling(num_classes, 3, stride=2, learned=True)  # 11 x 23 x 31
        self.upscore2c = Crop(0)  # 11 x 22 x 30
        self.score_fire9 = score(512, num_classes)  # 11 x 22 x 30
        self.upscore_fire9 = BilinearUpsampling(num_classes, 3, stride=2, learned=True)  # 11 x 45 x 61
        self.upscore_fire9c = Crop(0)  # 11 x 45 x 60
        self.score_fire5 = score(256, num_classes)  # 11 x 45 x 60
        self.upscore8 = BilinearUpsampling(num_classes, 15, stride=8, learned=False)  # 11 x 367 x 487
        self.score = Crop(1)  # 11 x 360 x 480

    def forward(self, x: Tensor) -> Tensor:
        fire5, fire9, coarse = self.encode(x)
        scores = self.upscore2c(self.upscore2(self.score_fr(coarse)), fire9.shape[2:]) + self.score_fire9(fire9)
        scores = self.upscore_fire9c(self.upscore_fire9(scores), fire5.shape[2:]) + self.score_fire5(fire5)
        return self.score(self.upscore8(scores), x.shape[2:])


class Level(nn.Module):
    """Up-convolution, the encoder's map beside it, a fire module.  (B, C, h, w), (B, S, 2h, 2w) -> (B, 2E, 2h, 2w)"""

    def __init__(self, channels: int, skip_channels: int, *, up: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.upconv = nn.ConvTranspose2d(channels, up, 3, stride=2)
        self.relu = nn.ReLU()
        self.crop = Crop(0)
        self.fire = Fire(up + skip_channels, squeeze=squeeze, expand=expand)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.crop(self.relu(self.upconv(x)), skip.shape[2:])
        return self.fire(torch.cat([skip, x], 1))


class UNetSqueezeNet(FCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits, for images of any size from 15 px."""

    skips = ("relu_conv1", "fire3", "fire5")
    own_layers = ("u8.", "u4.", "u2.")

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(encoder(in_channels))
        self.u8 = Level(512, 256, up=64, squeeze=32, expand=64)  # 128 x 45 x 60
        self.u4 = Level(128, 128, up=48, squeeze=24, expand=32)  # 64 x 90 x 120
        self.u2 = Level(64, 64, up=32, squeeze=16, expand=16)  # 32 x 180 x 240
        for level in (self.u8, self.u4, self.u2):
            initialise(level, he_normal())
        self.score_u2 = score(32, num_classes)  # 11 x 180 x 240
        self.upscore2 = BilinearUpsampling(num_classes, 3, stride=2, learned=False)  # 11 x 361 x 481
        self.score = Crop(1)  # 11 x 360 x 480

    def forward(self, x: Tensor) -> Tensor:
        conv1, fire3, fire5, coarse = self.encode(x)
        features = self.u2(self.u4(self.u8(coarse, fire5), fire3), conv1)
        return self.score(self.upscore2(self.score_u2(features)), x.shape[2:])


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 360, 480), num_classes=11)
def fcn8s_squeezenet(*, num_classes: int = 11, in_channels: int = 3) -> FCN8sSqueezeNet:
    """FCN-8s on SqueezeNet 1.1, for machines without a GPU; starts from ImageNet weights."""
    return FCN8sSqueezeNet(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="ronneberger2015_unet", input_shape=(3, 360, 480), num_classes=11)
def unet_squeezenet(*, num_classes: int = 11, in_channels: int = 3) -> UNetSqueezeNet:
    """U-Net's decoder on SqueezeNet 1.1, for machines without a GPU; starts from ImageNet weights."""
    return UNetSqueezeNet(num_classes=num_classes, in_channels=in_channels)
