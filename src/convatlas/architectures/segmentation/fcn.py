"""FCN: classifiers become fully convolutional, and their coarse scores are upsampled to the pixels, with skips.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015; Shelhamer, Long, Darrell,
TPAMI 2017.

Follows  Section 4 and the authors' release (shelhamer/fcn.berkeleyvision.org), whose names the layers have: the first
         convolution is padded by 100, pooling windows that overhang the map are kept, scores begin at zero, upsampling
         begins bilinear, and what hangs over the image is cropped. The offsets follow from strides and paddings, and
         are the same for every size. `fcn8s_vgg16_voc_at_once` learns all skips at once, from scaled-down maps.
Departs  The last upsampling is fixed and those before it are learned, as the paper says; the release fixes all.
         The release draws no weights for what a trained classifier brings; here they are He et al.'s until they come.
Shapes   B batch, C channels, H x W image, K classes, h x w coarse map.
"""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from convatlas.architectures.classification.vgg import COLUMNS, blocks
from convatlas.blocks.bilinear import BilinearUpsampling
from convatlas.blocks.crop import Crop
from convatlas.blocks.init import he_normal, initialise
from convatlas.network import Network
from convatlas.ops.transplant import transplant
from convatlas.registry import register


class Scale(nn.Module):
    """A constant factor, so that early maps are as small as the late ones beside them.  (B, C, H, W) -> same"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def score(channels: int, num_classes: int) -> nn.Conv2d:
    """Classes from features, all zero at first.  (B, channels, h, w) -> (B, K, h, w)"""
    layer = nn.Conv2d(channels, num_classes, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def convolutional_classifier(channels: int, side: int) -> "OrderedDict[str, nn.Module]":
    """fc6 to drop7 as convolutions.  (B, channels, h, w) -> (B, 4096, h - side + 1, w - side + 1)"""
    return OrderedDict(
        fc6=nn.Conv2d(channels, 4096, side),
        relu6=nn.ReLU(),
        drop6=nn.Dropout(0.5),
        fc7=nn.Conv2d(4096, 4096, 1),
        relu7=nn.ReLU(),
        drop7=nn.Dropout(0.5),
    )


class FCN(Network):
    """(B, in_channels, H, W) -> (B, K, H, W) logits, for images of any size.

    The trunk's layers are children of the network itself, so that their names are those of the classifier. A head
    reads the last of them, and the `skips`.
    """

    skips: tuple[str, ...] = ()
    own_layers: tuple[str, ...] = ()  # all that a classifier does not bring follows the number of classes

    def __init__(self, trunk: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = tuple(trunk)
        for name, layer in trunk.items():
            self.add_module(name, layer)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of the skips from the input on, and the last one."""
        skips: list[Tensor] = []
        for name in self.trunk:
            x = self.get_submodule(name)(x)
            if name in self.skips:
                skips.append(x)
        return *skips, x

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the layers of the same names, of a classifier or of the stage before: 32s to 16s to 8s.

        Returns and raises as `transplant`.
        """
        return transplant(self, tensors)


class OneStreamFCN(FCN):
    """Scores of the coarsest map alone, enlarged 32 times."""

    def __init__(
        self, trunk: Mapping[str, nn.Module], num_classes: int, *, channels: int = 4096, side: int, offset: int
    ) -> None:
        super().__init__(trunk)
        self.score_fr = score(channels, num_classes)
        self.upscore = BilinearUpsampling(num_classes, side, stride=32, learned=False)
        self.score = Crop(offset)

    def forward(self, x: Tensor) -> Tensor:
        (coarse,) = self.encode(x)
        return self.score(self.upscore(self.score_fr(coarse)), x.shape[2:])


def vgg16_trunk(in_channels: int) -> "OrderedDict[str, nn.Module]":
    """VGG-16 up to drop7.  (B, in_channels, H, W) -> (B, 4096, h, w); h is 16 for an H of 500"""
    trunk = blocks(COLUMNS["D"], in_channels, 2)
    trunk["conv1_1"] = nn.Conv2d(in_channels, 64, 3, padding=100)
    for block in range(1, 6):
        trunk[f"pool{block}"] = nn.MaxPool2d(2, ceil_mode=True)
    trunk |= convolutional_classifier(512, 7)
    initialise(trunk.values(), he_normal())
    return trunk


class FCN32sVGG16(OneStreamFCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits from strides of 32 pixels."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(vgg16_trunk(in_channels), num_classes, side=64, offset=19)


class FCN16sVGG16(FCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits; the scores of pool4 are added to those enlarged twice."""

    skips = ("pool4",)

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(vgg16_trunk(in_channels))
        self.score_fr = score(4096, num_classes)  # 21 x 16 x 16
        self.upscore2 = BilinearUpsampling(num_classes, 4, stride=2, learned=True)  # 21 x 34 x 34
        self.score_pool4 = score(512, num_classes)  # 21 x 44 x 44
        self.score_pool4c = Crop(5)  # 21 x 34 x 34
        self.upscore16 = BilinearUpsampling(num_classes, 32, stride=16, learned=False)  # 21 x 560 x 560
        self.score = Crop(27)  # 21 x 500 x 500

    def forward(self, x: Tensor) -> Tensor:
        pool4, coarse = self.encode(x)
        scores = self.upscore2(self.score_fr(coarse))
        scores = scores + self.score_pool4c(self.score_pool4(pool4), scores.shape[2:])
        return self.score(self.upscore16(scores), x.shape[2:])


class FCN8sVGG16(FCN):
    """(B, in_channels, H, W) -> (B, K, H, W) logits; the scores of pool4, then those of pool3 are added."""

    skips = ("pool3", "pool4")

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(vgg16_trunk(in_channels))
        self.score_fr = score(4096, num_classes)  # 21 x 16 x 16
        self.upscore2 = BilinearUpsampling(num_classes, 4, stride=2, learned=True)  # 21 x 34 x 34
        self.score_pool4 = score(512, num_classes)  # 21 x 44 x 44
        self.score_pool4c = Crop(5)  # 21 x 34 x 34
        self.upscore_pool4 = BilinearUpsampling(num_classes, 4, stride=2, learned=True)  # 21 x 70 x 70
        self.score_pool3 = score(256, num_classes)  # 21 x 88 x 88
        self.score_pool3c = Crop(9)  # 21 x 70 x 70
        self.upscore8 = BilinearUpsampling(num_classes, 16, stride=8, learned=False)  # 21 x 568 x 568
        self.score = Crop(31)  # 21 x 500 x 500

    def forward(self, x: Tensor) -> Tensor:
        pool3, pool4, coarse = self.encode(x)
        scores = self.upscore2(self.score_fr(coarse))
        scores = scores + self.score_pool4c(self.score_pool4(pool4), scores.shape[2:])
        scores = self.upscore_pool4(scores)
        scores = scores + self.score_pool3c(self.score_pool3(pool3), scores.shape[2:])
        return self.score(self.upscore8(scores), x.shape[2:])


class FCN8sVGG16AtOnce(FCN8sVGG16):
    """The same from pool4 and pool3 scaled down, so that all three learn together."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.scale_pool4 = Scale(0.01)
        self.scale_pool3 = Scale(0.0001)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        pool3, pool4, coarse = super().encode(x)
        return self.scale_pool3(pool3), self.scale_pool4(pool4), coarse


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 500, 500), num_classes=21)
def fcn32s_vgg16_voc(*, num_classes: int = 21, in_channels: int = 3) -> FCN32sVGG16:
    """FCN-32s on VGG-16: the classifier's scores, enlarged 32 times."""
    return FCN32sVGG16(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 500, 500), num_classes=21)
def fcn16s_vgg16_voc(*, num_classes: int = 21, in_channels: int = 3) -> FCN16sVGG16:
    """FCN-16s on VGG-16: one skip, from pool4; starts from FCN-32s."""
    return FCN16sVGG16(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 500, 500), num_classes=21)
def fcn8s_vgg16_voc(*, num_classes: int = 21, in_channels: int = 3) -> FCN8sVGG16:
    """FCN-8s on VGG-16: two skips, from pool4 and pool3; starts from FCN-16s."""
    return FCN8sVGG16(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="long2015_fcn", input_shape=(3, 500, 500), num_classes=21)
def fcn8s_vgg16_voc_at_once(*, num_classes: int = 21, in_channels: int = 3) -> FCN8sVGG16AtOnce:
    """FCN-8s trained at once from VGG-16: pool4 and pool3 are scaled by 0.01 and 0.0001 before their scores."""
    return FCN8sVGG16AtOnce(num_classes=num_classes, in_channels=in_channels)
