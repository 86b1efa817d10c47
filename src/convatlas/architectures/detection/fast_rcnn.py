"""Fast R-CNN: one map for the whole image, and a small network that looks at each region of it.

Girshick, "Fast R-CNN", ICCV 2015, arXiv:1504.08083.

Follows  Section 2 and the release's models/VGG16 and models/CaffeNet: RoI max pooling, two heads, the multi-task loss,
         64 regions an image of which a quarter are objects, the first layers frozen. Section 3.1 for the truncated
         SVD: `blocks.low_rank`. Layer names are the release's. Pools count a last, partial window, as Caffe does.
Departs  The paper scales the targets of the boxes to a standard deviation of 1, measured on its data; we divide by 0.1,
         0.1, 0.2 and 0.2, which the authors' next release put in its place. It begins with ImageNet weights: without
         them VGG's published N(0, 0.1) is of no use, and we draw its convolutions by He et al. 2015.
Shapes   B batch, C channels, H x W map, R regions of all images, N of one, K classes.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.alexnet import CaffeNet
from convatlas.architectures.classification.vgg import VGG
from convatlas.blocks.init import gaussian, he_normal, initialise
from convatlas.blocks.region_search import RegionSearch
from convatlas.blocks.roi_pool import RoIMaxPool
from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.network import Network
from convatlas.ops.boxes import SSD_VARIANCES, decode, suppress
from convatlas.ops.regions import region_losses, sample_regions, whole_image
from convatlas.ops.selective_search import selective_search
from convatlas.ops.transplant import transplant
from convatlas.records import Detections, Objects, Traits
from convatlas.registry import register

ops = Lazy("torchvision.ops")

Layers = OrderedDict[str, nn.Module]
Names = tuple[str, ...]

VGG16_FROZEN = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")


class RegionOutputs(NamedTuple):
    """What the two heads say of each region."""

    scores: Tensor  # (R, K + 1) logits, the background first
    codes: Tensor  # (R, 4 (K + 1)): a box for each class, in units of its region


class Trunk(NamedTuple):
    """The layers that make an image's map, those that look at a region of it, and how many bins those take."""

    encoder: Layers
    head: Layers
    bins: int
    pool: str = "roi_pool5"
    stride: int = 16  # pixels of the image for a cell of the map
    own: Names = ()  # layers of the head that are no classifier's


class RegionNetwork(Network):
    """A map of the image, and two heads on each region of it."""

    def __init__(self, trunk: Trunk, *, num_classes: int) -> None:
        super().__init__()
        self.own_layers = trunk.own
        self.encoder_layers, self.head_layers, self.pool_layer = tuple(trunk.encoder), tuple(trunk.head), trunk.pool
        for name, layer in trunk.encoder.items():
            self.add_module(name, layer)
        self.add_module(trunk.pool, RoIMaxPool(trunk.bins, stride=trunk.stride))
        for name, layer in trunk.head.items():
            self.add_module(name, layer)
        width = [layer.out_features for layer in trunk.head.values() if isinstance(layer, nn.Linear)][-1]
        self.cls_score = nn.Linear(width, num_classes + 1)
        self.bbox_pred = nn.Linear(width, 4 * (num_classes + 1))
        initialise([self.cls_score], gaussian(0.01))
        initialise([self.bbox_pred], gaussian(0.001))

    def features(self, images: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, C, H / 16, W / 16)"""
        for name in self.encoder_layers:
            images = self.get_submodule(name)(images)
        return images

    def classify(self, features: Tensor, boxes: list[Tensor]) -> RegionOutputs:
        """(B, C, H, W), B times (N, 4) in pixels of the images -> of all R regions"""
        x = self.get_submodule(self.pool_layer)(features, boxes).flatten(1)
        for name in self.head_layers:
            x = self.get_submodule(name)(x)
        return RegionOutputs(self.cls_score(x), self.bbox_pred(x))

    def start_from(self, tensors: Mapping[str, Tensor]) -> Names:
        """Copies a trained classifier's layers of the same names: those of the map, and of the head where it has them.

        Returns and raises as `transplant`, and UsageError where a layer of the map is not among them.
        """
        of_map = tuple(f"{name}." for name in self.encoder_layers)
        absent = [name for name in self.state_dict() if name.startswith(of_map) and name not in tensors]
        if absent:
            expected = f"all layers of the map of {type(self).__name__}"
            raise UsageError(f"the weights have no {absent[0]}; expected {expected}")
        return transplant(self, tensors)

    @torch.no_grad()
    def refine(
        self,
        images: Tensor,
        features: Tensor,
        proposals: list[Tensor],
        *,
        score_above: float,
        iou_above: float,
        most: int,
    ) -> list[Detections]:
        """Each region fitted to each class, and thinned out.  (B, C, H, W), (B, C', H', W'), B times (N, 4)"""
        outputs, size = self.classify(features, proposals), (images.shape[2], images.shape[3])
        return fitted(outputs, proposals, size, score_above=score_above, iou_above=iou_above, most=most)


def fitted(
    outputs: RegionOutputs,
    proposals: list[Tensor],
    size: tuple[int, int],
    *,
    score_above: float,
    iou_above: float,
    most: int,
) -> list[Detections]:
    """The regions, B times (N, 4), of images of H x W pixels, fitted to each class and thinned out."""
    counts = [len(each) for each in proposals]
    detections = []
    for boxes, probabilities, own in zip(
        proposals,
        outputs.scores.softmax(1).split(counts),
        outputs.codes.unflatten(1, (-1, 4)).split(counts),
        strict=True,
    ):
        moved = decode(own[:, 1:], boxes.unsqueeze(1), variances=SSD_VARIANCES)  # (N, K, 4)
        moved = ops.clip_boxes_to_image(moved, size)
        detections.append(
            suppress(moved, probabilities[:, 1:], score_above=score_above, iou_above=iou_above, most=most)
        )
    return detections


class FastRCNN(RegionSearch, RegionNetwork):
    """(B, in_channels, H, W) -> `RegionOutputs` of one region an image, the whole of it.

    Args:
        trunk: the layers.
        num_classes: K, without the background.
        frozen: layers that do not learn.
        propose: makes the (N, 4) boxes of one image (in_channels, H, W), where none are given.
    """

    def __init__(
        self,
        trunk: Trunk,
        *,
        num_classes: int,
        frozen: tuple[str, ...] = (),
        propose: Callable[[Tensor], Tensor] = selective_search,
    ) -> None:
        super().__init__(trunk, num_classes=num_classes)
        self.propose = propose
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)

    def forward(self, images: Tensor) -> RegionOutputs:
        return self.classify(self.features(images), whole_image(images))

    def losses(
        self, images: Tensor, targets: list[Objects], proposals: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The multi-task loss on 64 regions an image.  (B, in_channels, H, W), B objects, B times (N, 4)"""
        given = self.regions(images, proposals, search=self.propose)
        regions = [sample_regions(boxes, each) for boxes, each in zip(given, targets, strict=True)]
        return region_losses(*self.classify(self.features(images), [each.boxes for each in regions]), regions)

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        proposals: Sequence[Tensor] | None = None,
        *,
        score_above: float = 0.05,
        iou_above: float = 0.3,
        most: int = 100,
    ) -> list[Detections]:
        """What is in each image; `proposals` are B times (N, 4), selective search's where there are none."""
        given = self.regions(images, proposals, search=self.propose)
        return self.refine(
            images, self.features(images), given, score_above=score_above, iou_above=iou_above, most=most
        )


def vgg16_trunk(in_channels: int) -> Trunk:
    """conv1_1 to conv5_3, and fc6 and fc7 on 7 x 7 bins."""
    layers = OrderedDict(VGG("D", num_classes=1, in_channels=in_channels).named_children())
    for layer in layers.values():
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    initialise(layers.values(), he_normal(), fully_connected=gaussian(0.01))
    return _divided(layers, bins=7)


def caffenet_trunk(in_channels: int) -> Trunk:
    """conv1 to conv5, padded so that a cell's centre stays where it was, and fc6 and fc7 on 6 x 6 bins."""
    layers = OrderedDict(CaffeNet(num_classes=1, in_channels=in_channels).named_children())
    for name, layer in layers.items():
        if isinstance(layer, nn.MaxPool2d):
            layer.padding, layer.ceil_mode = 1, True
        elif name == "conv1" and isinstance(layer, nn.Conv2d):
            layer.padding = (5, 5)
    return _divided(layers, bins=6)


def _divided(layers: Layers, *, bins: int) -> Trunk:
    """A classifier's layers before pool5, and those of its fc6 and fc7."""
    names = list(layers)
    cut, flat, last = (names.index(name) for name in ("pool5", "flatten", "fc8"))
    encoder = OrderedDict((name, layers[name]) for name in names[:cut])
    return Trunk(encoder, OrderedDict((name, layers[name]) for name in names[flat + 1 : last]), bins)


@register(
    task="detection",
    paper="girshick2015_fast",
    input_shape=(3, 600, 1000),
    num_classes=20,
    traits=Traits(searches_regions=True),
)
def fast_rcnn_vgg16(*, num_classes: int = 20, in_channels: int = 3) -> FastRCNN:
    """Fast R-CNN on VGG-16; layers below conv3_1 do not learn."""
    return FastRCNN(vgg16_trunk(in_channels), num_classes=num_classes, frozen=VGG16_FROZEN)


@register(
    task="detection",
    paper="girshick2015_fast",
    input_shape=(3, 600, 1000),
    num_classes=20,
    traits=Traits(searches_regions=True),
)
def fast_rcnn_caffenet(*, num_classes: int = 20, in_channels: int = 3) -> FastRCNN:
    """Fast R-CNN on CaffeNet, the paper's model S; conv1 does not learn."""
    return FastRCNN(caffenet_trunk(in_channels), num_classes=num_classes, frozen=("conv1",))
