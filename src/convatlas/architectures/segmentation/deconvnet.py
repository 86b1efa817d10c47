"""DeconvNet: VGG-16 down to one pixel, and its mirror image back up to the object's shape.

Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015, arXiv:1505.04366.

Follows  Figure 2, table 2 and the authors' release (DeconvNet_inference_deploy.prototxt), whose names the layers have:
         batch normalisation and ReLU after every convolution and deconvolution but the last, unpooling by the switches
         of the encoder, fully connected layers as convolutions. New layers start from N(0, 0.01^2) with biases 0,
         normalisations from scale 1 and shift 0.001; the encoder starts from a trained VGG-16
         (`blocks.transplant.transplant`).
Departs  Until trained weights come, the encoder too starts from N(0, 0.01^2). The release's hyphens are underscores.
Shapes   B batch, C channels, H x W map, K classes.
"""

from torch import nn

from convatlas.blocks.init import gaussian, initialise, initialise_norms
from convatlas.blocks.unpool import MirroredSequential, SwitchPool2d, SwitchUnpool2d
from convatlas.network import Network
from convatlas.registry import register

LEVELS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # maps and convolutions of each


def add_encoder(net: nn.Module, in_channels: int, *, normalised: bool) -> None:
    """conv1_1, bn1_1, relu1_1, ..., pool5, as VGG-16.  (B, in_channels, H, W) -> (B, 512, H / 32, W / 32)"""
    channels = in_channels
    for level, (width, depth) in enumerate(LEVELS, start=1):
        for place in range(1, depth + 1):
            net.add_module(f"conv{level}_{place}", nn.Conv2d(channels, width, 3, padding=1))
            if normalised:
                net.add_module(f"bn{level}_{place}", nn.BatchNorm2d(width))
            net.add_module(f"relu{level}_{place}", nn.ReLU())
            channels = width
        net.add_module(f"pool{level}", SwitchPool2d())


def add_decoder(net: nn.Module, in_channels: int, num_classes: int) -> None:
    """fc6_deconv, unpool5, deconv5_1, ..., seg_score_voc.  (B, in_channels, 1, 1) -> (B, K, 224, 224)"""
    net.add_module("fc6_deconv", nn.ConvTranspose2d(in_channels, 512, 7))
    net.add_module("fc6_deconv_bn", nn.BatchNorm2d(512))
    net.add_module("fc6_deconv_relu", nn.ReLU())
    for level, (width, depth) in reversed(list(enumerate(LEVELS, start=1))):
        net.add_module(f"unpool{level}", SwitchUnpool2d())
        below = LEVELS[max(level - 2, 0)][0]
        for place in range(1, depth + 1):
            maps = below if place == depth else width
            net.add_module(f"deconv{level}_{place}", nn.ConvTranspose2d(width, maps, 3, padding=1))
            net.add_module(f"debn{level}_{place}", nn.BatchNorm2d(maps))
            net.add_module(f"derelu{level}_{place}", nn.ReLU())
    net.add_module("seg_score_voc", nn.Conv2d(64, num_classes, 1))


class DeconvNet(Network, MirroredSequential):
    """(B, in_channels, 224, 224) -> (B, K, 224, 224) logits; any size from 224 px on is accepted."""

    def __init__(self, *, num_classes: int = 21, in_channels: int = 3) -> None:
        super().__init__()
        add_encoder(self, in_channels, normalised=True)
        for name, maps, side in (("6", 512, 7), ("7", 4096, 1)):
            self.add_module(f"fc{name}", nn.Conv2d(maps, 4096, side))
            self.add_module(f"bnfc{name}", nn.BatchNorm2d(4096))
            self.add_module(f"relu{name}", nn.ReLU())
        add_decoder(self, 4096, num_classes)
        initialise(self, gaussian(0.01))
        initialise_norms(self, bias=0.001)


@register(task="segmentation", paper="noh2015_deconvnet", input_shape=(3, 224, 224), num_classes=21)
def deconvnet_voc(*, num_classes: int = 21, in_channels: int = 3) -> DeconvNet:
    """DeconvNet: VGG-16, its mirror image and switches, for crops of VOC's images."""
    return DeconvNet(num_classes=num_classes, in_channels=in_channels)
