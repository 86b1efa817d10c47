"""DeepLab-LargeFOV: VGG-16 with holes, which keeps a stride of 8 and sees as far as before.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "Semantic Image Segmentation with Deep Convolutional Nets and Fully
Connected CRFs", ICLR 2015, arXiv:1412.7062.

Follows  Section 3 and the authors' Caffe release: all pools 3x3, the last two of stride 1, so that conv5 has holes of 2
         and fc6, 3x3, of 12; fc6 and fc7 have 1024 maps. Layer names are those of VGG's release, `pool5a` this one's.
Departs  The release learns from masks shrunk by 8; here scores are enlarged by 8, as it does at test time, also in
         training. Its enlargement fits sizes of 8 n + 1 alone; here others are cropped. The release starts from a
         VGG-16 whose fc6 and fc7 were thinned out; which filters it kept is not known, and `start_from` takes every
         fourth. The CRF that follows is `convatlas.inference.crf`.
Shapes   B batch, H x W image, K classes, h x w map of strides of 8.
"""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.architectures.classification.vgg import COLUMNS, blocks
from convatlas.architectures.segmentation.fcn import FCN
from convatlas.blocks.crop import Crop
from convatlas.blocks.init import gaussian, he_normal, initialise
from convatlas.registry import register

STRIDE = 8


class Interp(nn.Module):
    """Bilinear, with positions at multiples of `STRIDE`.  (B, K, h, w) -> (B, K, 8 h - 7, 8 w - 7)"""

    def forward(self, x: Tensor) -> Tensor:
        size = [STRIDE * (side - 1) + 1 for side in x.shape[2:]]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _trunk(in_channels: int) -> "OrderedDict[str, nn.Module]":
    """(B, in_channels, H, W) -> (B, 1024, h, w)"""
    trunk = blocks(COLUMNS["D"], in_channels, 2)
    for block in range(1, 6):
        trunk[f"pool{block}"] = nn.MaxPool2d(3, stride=2 if block < 4 else 1, padding=1, ceil_mode=True)
    for place in range(1, 4):
        trunk[f"conv5_{place}"] = nn.Conv2d(512, 512, 3, padding=2, dilation=2)
    trunk |= OrderedDict[str, nn.Module](
        pool5a=nn.AvgPool2d(3, stride=1, padding=1),
        fc6=nn.Conv2d(512, 1024, 3, padding=12, dilation=12),
        relu6=nn.ReLU(),
        drop6=nn.Dropout(0.5),
        fc7=nn.Conv2d(1024, 1024, 1),
        relu7=nn.ReLU(),
        drop7=nn.Dropout(0.5),
    )
    initialise(trunk.values(), he_normal())
    return trunk


def _thinned(name: str, weight: Tensor) -> Tensor:
    """Of VGG's fc6 and fc7, every fourth map, and of 7 x 7 places the corners, the middle and those between."""
    maps = weight[::4]
    if name == "fc6.weight":
        return maps.view(len(maps), 512, 7, 7)[:, :, ::3, ::3]
    return maps[:, ::4] if name == "fc7.weight" else maps


class DeepLabLargeFOV(FCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits, for images of any size."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(_trunk(in_channels))
        self.fc8 = nn.Conv2d(1024, num_classes, 1)  # 21 x 41 x 41
        initialise([self.fc8], gaussian(0.01))
        self.interp = Interp()  # 21 x 321 x 321
        self.score = Crop(0)  # 21 x 321 x 321

    def forward(self, x: Tensor) -> Tensor:
        (features,) = self.encode(x)
        return self.score(self.interp(self.fc8(features)), x.shape[2:])

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Takes VGG-16's convolutions, and its fc6 and fc7 thinned out where they have 4096 maps; not its fc8."""
        wide = "fc6.bias" in tensors and len(tensors["fc6.bias"]) == 4096
        taken = {
            name: _thinned(name, tensor) if wide and name.startswith(("fc6.", "fc7.")) else tensor
            for name, tensor in tensors.items()
            if not (wide and name.startswith("fc8."))
        }
        return super().start_from(taken)


@register(task="segmentation", paper="chen2014_deeplab", input_shape=(3, 321, 321), num_classes=21)
def deeplab_largefov_voc(*, num_classes: int = 21, in_channels: int = 3) -> DeepLabLargeFOV:
    """DeepLab-LargeFOV: VGG-16 with holes in conv5 and fc6, for strides of 8 pixels."""
    return DeepLabLargeFOV(num_classes=num_classes, in_channels=in_channels)
