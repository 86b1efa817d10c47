"""Faster R-CNN: the map that is there for the regions also says where the regions are.

Ren, He, Girshick, Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", NIPS 2015,
arXiv:1506.01497.

Follows  Section 3 and py-faster-rcnn's models/pascal_voc, end to end: nine anchors, 256 of them an image to learn
         from, those that cross the border left out, 6,000 boxes thinned to 300 (12,000 to 2,000 in training), 128
         regions an image. `losses` is the approximate joint training: no gradient goes through the coordinates of a
         proposal. The recipe `published-alternating` has the paper's four steps. Layer names are the release's,
         but `rpn_conv` for rpn_conv/3x3.
Departs  The release counts the smallest side of a proposal, 16 pixels, in the image before it was resized; here it
         counts in the image that is given. Without ImageNet weights VGG's convolutions are drawn by He et al. 2015.
         `faster_rcnn_squeezenet` is no paper's: for machines without a GPU, with smaller anchors and 256 units.
Shapes   B batch, C channels, H x W image, h x w map, A anchors a cell, R regions of all images, K classes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.squeezenet import SqueezeNetV11
from convatlas.architectures.detection.fast_rcnn import VGG16_FROZEN, Layers, RegionNetwork, Trunk, vgg16_trunk
from convatlas.blocks.init import gaussian, he_normal, initialise
from convatlas.blocks.within_channel import WithinChannelNorm
from convatlas.ops.anchors import (
    AnchorOutputs,
    anchor_losses,
    base_anchors,
    grid_anchors,
    propose,
    sample_anchors,
)
from convatlas.ops.regions import region_losses, sample_regions, whole_image
from convatlas.records import Detections, Objects
from convatlas.registry import register

REGIONS = 128  # of an image to learn from


class FasterOutputs(NamedTuple):
    """What the network says of its anchors, and of one region: the whole image."""

    anchor_scores: Tensor  # (B, 2A, h, w)
    anchor_codes: Tensor  # (B, 4A, h, w)
    scores: Tensor  # (B, K + 1) logits, the background first
    codes: Tensor  # (B, 4 (K + 1))


class FasterRCNN(RegionNetwork):
    """(B, in_channels, H, W) -> `FasterOutputs`

    Args:
        trunk: the layers.
        num_classes: K, without the background.
        width: maps of the image's map, and of the proposal network's.
        scales: sides of the square anchors, in units of 16 pixels.
        frozen: layers that do not learn.
    """

    anchors: Tensor  # (A, 4), of the first cell

    def __init__(
        self,
        trunk: Trunk,
        *,
        num_classes: int,
        width: tuple[int, int],
        scales: Sequence[int] = (8, 16, 32),
        frozen: tuple[str, ...] = (),
    ) -> None:
        super().__init__(trunk, num_classes=num_classes)
        self.own_layers = ("rpn_", *trunk.own)
        self.stride = trunk.stride
        self.register_buffer("anchors", base_anchors(scales), persistent=False)
        count = len(self.anchors)
        self.rpn_conv = nn.Conv2d(*width, 3, padding=1)
        self.rpn_relu = nn.ReLU()
        self.rpn_cls_score = nn.Conv2d(width[1], 2 * count, 1)
        self.rpn_bbox_pred = nn.Conv2d(width[1], 4 * count, 1)
        initialise((self.rpn_conv, self.rpn_cls_score, self.rpn_bbox_pred), gaussian(0.01))
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)

    def forward(self, images: Tensor) -> FasterOutputs:
        features = self.features(images)
        return FasterOutputs(*self.rpn(features), *self.classify(features, whole_image(images)))

    def rpn(self, features: Tensor) -> AnchorOutputs:
        """(B, C, h, w) -> of all anchors"""
        x = self.rpn_relu(self.rpn_conv(features))
        return AnchorOutputs(self.rpn_cls_score(x), self.rpn_bbox_pred(x))

    def propose(self, images: Tensor, *, before: int | None = 6000, after: int = 300) -> list[Tensor]:
        """The regions of each image, the most certain first.  (B, in_channels, H, W) -> B times (N, 4)"""
        return self.proposals(images, self.rpn(self.features(images)), before=before, after=after)

    def losses(self, images: Tensor, targets: list[Objects]) -> dict[str, Tensor]:
        """All four at once, on proposals of the moment.  (B, in_channels, H, W), B objects"""
        features = self.features(images)
        outputs = self.rpn(features)
        proposals = self.proposals(images, outputs, before=12_000, after=2_000)
        regions = self._region_losses(features, targets, proposals, REGIONS)
        return self._anchor_losses(images, outputs, targets) | regions

    def anchor_losses(self, images: Tensor, targets: list[Objects]) -> dict[str, Tensor]:
        """Those of the proposal network alone (steps 1 and 3 of the alternating training)."""
        return self._anchor_losses(images, self.rpn(self.features(images)), targets)

    def region_losses(self, images: Tensor, targets: list[Objects], proposals: list[Tensor]) -> dict[str, Tensor]:
        """Those of the heads alone on given proposals, B times (N, 4) (steps 2 and 4 of the alternating training).

        128 regions are drawn in all, as from the two images of a step there; `losses` draws as many from each image.
        """
        count = max(REGIONS // len(images), 1)
        return self._region_losses(self.features(images), targets, proposals, count)

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        proposals: int = 300,
        score_above: float = 0.05,
        iou_above: float = 0.3,
        most: int = 100,
    ) -> list[Detections]:
        """What is in each image.  (B, in_channels, H, W) -> B detections"""
        features = self.features(images)
        regions = self.proposals(images, self.rpn(features), before=6_000, after=proposals)
        return self.refine(images, features, regions, score_above=score_above, iou_above=iou_above, most=most)

    def _grid(self, outputs: AnchorOutputs) -> Tensor:
        height, width = outputs.scores.shape[2:]
        return grid_anchors(self.anchors, (height, width), stride=self.stride)

    def proposals(self, images: Tensor, outputs: AnchorOutputs, *, before: int | None, after: int) -> list[Tensor]:
        """Those of anchors that were already judged: B times (N, 4)"""
        size = (images.shape[2], images.shape[3])
        return propose(outputs, self._grid(outputs), size, before=before, after=after)

    def _anchor_losses(self, images: Tensor, outputs: AnchorOutputs, targets: list[Objects]) -> dict[str, Tensor]:
        grid, size = self._grid(outputs), (images.shape[2], images.shape[3])
        return anchor_losses(outputs, [sample_anchors(grid, each, size) for each in targets])

    def _region_losses(
        self, features: Tensor, targets: list[Objects], proposals: list[Tensor], count: int
    ) -> dict[str, Tensor]:
        regions = [
            sample_regions(boxes, each, count=count, background_iou=(0.0, 0.5))
            for boxes, each in zip(proposals, targets, strict=True)
        ]
        return region_losses(*self.classify(features, [each.boxes for each in regions]), regions)


def zf_trunk(in_channels: int) -> Trunk:
    """ZFNet padded so that a cell's centre stays where it was, and normalised within maps before its pools."""
    encoder: Layers = OrderedDict(
        conv1=nn.Conv2d(in_channels, 96, 7, stride=2, padding=3),  # 96 x 300 x 500
        relu1=nn.ReLU(),
        norm1=WithinChannelNorm(),
        pool1=nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),  # 96 x 151 x 251
        conv2=nn.Conv2d(96, 256, 5, stride=2, padding=2),  # 256 x 76 x 126
        relu2=nn.ReLU(),
        norm2=WithinChannelNorm(),
        pool2=nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),  # 256 x 39 x 64
        conv3=nn.Conv2d(256, 384, 3, padding=1),  # 384 x 39 x 64
        relu3=nn.ReLU(),
        conv4=nn.Conv2d(384, 384, 3, padding=1),  # 384 x 39 x 64
        relu4=nn.ReLU(),
        conv5=nn.Conv2d(384, 256, 3, padding=1),  # 256 x 39 x 64
        relu5=nn.ReLU(),
    )
    head: Layers = OrderedDict(
        fc6=nn.Linear(256 * 6 * 6, 4096),
        relu6=nn.ReLU(),
        drop6=nn.Dropout(0.5),
        fc7=nn.Linear(4096, 4096),
        relu7=nn.ReLU(),
        drop7=nn.Dropout(0.5),
    )
    initialise((*encoder.values(), *head.values()), gaussian(0.01))
    return Trunk(encoder, head, bins=6, pool="roi_pool_conv5")


def squeezenet_trunk(in_channels: int) -> Trunk:
    """SqueezeNet 1.1 up to fire9, padded as the others are, and two fully connected layers on 7 x 7 bins."""
    layers = OrderedDict(SqueezeNetV11(num_classes=1, in_channels=in_channels).named_children())
    for name, layer in layers.items():
        if isinstance(layer, nn.MaxPool2d):
            layer.padding = 1
        elif name == "conv1" and isinstance(layer, nn.Conv2d):
            layer.padding = (1, 1)
    names = list(layers)
    encoder = OrderedDict((name, layers[name]) for name in names[: names.index("drop9")])
    head: Layers = OrderedDict(
        fc6=nn.Linear(512 * 7 * 7, 256), relu6=nn.ReLU(), fc7=nn.Linear(256, 256), relu7=nn.ReLU()
    )
    initialise(head.values(), he_normal())
    return Trunk(encoder, head, bins=7, pool="roi_pool", own=("fc6.", "fc7."))


@register(task="detection", paper="ren2015_faster", input_shape=(3, 600, 1000), num_classes=20)
def faster_rcnn_vgg16(*, num_classes: int = 20, in_channels: int = 3) -> FasterRCNN:
    """Faster R-CNN on VGG-16; layers below conv3_1 do not learn."""
    trunk = vgg16_trunk(in_channels)
    return FasterRCNN(trunk, num_classes=num_classes, width=(512, 512), frozen=VGG16_FROZEN)


@register(task="detection", paper="ren2015_faster", input_shape=(3, 600, 1000), num_classes=20)
def faster_rcnn_zf(*, num_classes: int = 20, in_channels: int = 3) -> FasterRCNN:
    """Faster R-CNN on ZFNet, with a quarter of VGG-16's time."""
    return FasterRCNN(zf_trunk(in_channels), num_classes=num_classes, width=(256, 256))


@register(task="detection", paper="ren2015_faster", input_shape=(3, 600, 1000), num_classes=20)
def faster_rcnn_squeezenet(*, num_classes: int = 20, in_channels: int = 3) -> FasterRCNN:
    """Faster R-CNN on SqueezeNet 1.1, for machines without a GPU."""
    trunk = squeezenet_trunk(in_channels)
    return FasterRCNN(trunk, num_classes=num_classes, width=(512, 256), scales=(4, 8, 16))
