"""SPPnet as a detector: R-CNN's classifiers on windows of one map, each pooled into a pyramid of bins.

He, Zhang, Ren, Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", arXiv:1406.4729,
2014 (ECCV 2014).

Follows  Section 4 and the appendix: five scales, of which each window takes the one where it is nearest to 224 x 224
         pixels, or in training any, as `random_scale = 1` in the release's spp_finetune_voc.m; its corners go to the
         map's cells whose centres lie inside. Only the fully connected layers are fine-tuned. The SVMs and the box
         regression are those of `blocks.region_svms`.
Departs  The paper fine-tunes on 128 windows of all images, here they are of the images of a step. Its positives are
         the objects themselves; here, as in the release, also proposals with an IoU of at least 0.5. The release's
         fourth scale is 874, the paper's 864.
Shapes   B batch, C channels, H x W image, h x w map, N windows of one image, K classes, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.architectures.detection.fast_rcnn import Trunk
from convatlas.architectures.detection.faster_rcnn import zf_trunk
from convatlas.blocks.init import gaussian, initialise
from convatlas.blocks.pyramid import LEVELS, SpatialPyramidPool
from convatlas.blocks.region_svms import LAYERS, WithSvms
from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.network import Network
from convatlas.ops.boxes import decode
from convatlas.ops.regions import sample_regions
from convatlas.records import Objects, Traits
from convatlas.registry import register

ops = Lazy("torchvision.ops")

SCALES = (480, 576, 688, 864, 1200)  # pixels of the short side
STRIDE = 16
BEST_AREA = 224 * 224


def cells(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The windows' cells on an h x w map: first and last column and row (appendix A).  (N, 4) -> (N, 4) int64

    A cell lies at the image's pixel 16 i. Of a window that no cell's centre is in, the cell nearest to its own.
    """
    first = (boxes[:, :2] / STRIDE).floor() + 1
    last = ((boxes[:, 2:] - 1) / STRIDE).ceil() - 1
    middle = ((boxes[:, :2] + boxes[:, 2:] - 1) / 2 / STRIDE).round()
    empty = last < first
    first, last = torch.where(empty, middle, first), torch.where(empty, middle, last)
    limits = boxes.new_tensor([size[1] - 1, size[0] - 1])
    return torch.cat([first.clamp(min=0).minimum(limits), last.clamp(min=0).minimum(limits)], 1).long()


def nearest_scale(boxes: Tensor, short_side: int, scales: Sequence[int] = SCALES) -> Tensor:
    """The scale at which each window's area is nearest to 224 x 224 pixels.  (N, 4) -> (N,) places in `scales`"""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    factors = boxes.new_tensor([scale / short_side for scale in scales])
    return (areas.unsqueeze(1) * factors.square() - BEST_AREA).abs().argmin(1)


class SPPDetector(WithSvms, Network):
    """(B, in_channels, H, W) -> (B, K + 1) logits of one window an image, the whole of it.

    Args:
        trunk: the layers; their fc6 gets as many inputs as the pyramid has values.
        num_classes: K, without the background.
        width: maps of the image's map.
        scales: short sides, in pixels, to which `detect` and `losses` scale an image.
    """

    def __init__(self, trunk: Trunk, *, num_classes: int, width: int = 256, scales: Sequence[int] = SCALES) -> None:
        super().__init__(num_svms=num_classes)
        if not scales or min(scales) < 1:
            raise UsageError(f"scales are {tuple(scales)}; expected short sides of at least 1 pixel")
        self.scales = tuple(scales)
        self.encoder_layers, self.head_layers = tuple(trunk.encoder), tuple(trunk.head)
        for name, layer in trunk.encoder.items():
            self.add_module(name, layer.requires_grad_(False))
        self.spp = SpatialPyramidPool()
        for name, layer in trunk.head.items():
            self.add_module(name, layer)
        widths = [layer.out_features for layer in trunk.head.values() if isinstance(layer, nn.Linear)]
        self.fc6 = nn.Linear(width * sum(bins * bins for bins in LEVELS), widths[0])
        self.fc8 = nn.Linear(widths[-1], num_classes + 1)
        initialise((self.fc6, self.fc8), gaussian(0.01), bias=1.0)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        whole = torch.tensor([[0.0, 0, width, height]], device="cpu")  # a number, so that it can be traced
        return self.classify(self.pool(self.features(images), whole))

    def features(self, images: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, 256, h, w)"""
        for name in self.encoder_layers:
            images = self.get_submodule(name)(images)
        return images

    def pool(self, features: Tensor, boxes: Tensor) -> Tensor:
        """The pyramid of each window.  (1, 256, h, w), (N, 4) in pixels of the scaled image -> (N, 12800)

        One window may be of several images: (B, 256, h, w), (1, 4) -> (B, 12800).
        """
        size = (features.shape[2], features.shape[3])
        rows = [self.spp(features[:, :, y1 : y2 + 1, x1 : x2 + 1]) for x1, y1, x2, y2 in cells(boxes, size).tolist()]
        return torch.cat(rows) if rows else features.new_zeros(0, self.fc6.in_features)

    def classify(self, pooled: Tensor) -> Tensor:
        """(N, 12800) -> (N, K + 1)"""
        for name in self.head_layers:
            pooled = self.get_submodule(name)(pooled)
        return self.fc8(pooled)

    def describe(self, image: Tensor, boxes: Tensor, layers: Sequence[str] = ("fc7",)) -> tuple[Tensor, ...]:
        """The outputs of these layers for each window, rectified.  (C, H, W), (N, 4) -> (N, D) each"""
        unknown = [layer for layer in layers if layer not in LAYERS]
        if unknown:
            raise UsageError(f"layer is {unknown[0]!r}; expected one of {', '.join(LAYERS)}")
        x = self.pyramids(image, boxes)
        outputs = {"pool5": x}
        for name in self.head_layers:
            outputs[name] = x = self.get_submodule(name)(x)
        return tuple(outputs[layer.replace("fc", "relu")] for layer in layers)

    def pyramids(self, image: Tensor, boxes: Tensor, *, random_scale: bool = False) -> Tensor:
        """Each window pooled at its own scale, or at one at random.  -> (N, 12800)

        A scale that no window takes costs nothing.
        """
        height, width = image.shape[1:]
        chosen = nearest_scale(boxes, min(height, width), self.scales)
        if random_scale:
            chosen = torch.randint(len(self.scales), (len(boxes),)).to(boxes.device)
        pooled = boxes.new_zeros(len(boxes), self.fc6.in_features)
        for place in chosen.unique().tolist():
            factor = self.scales[place] / min(height, width)
            size = (max(round(height * factor), 1), max(round(width * factor), 1))
            scaled = F.interpolate(image[None], size, mode="bilinear", antialias=True)
            own = chosen == place
            ratio = boxes.new_tensor([size[1] / width, size[0] / height] * 2)
            pooled[own] = self.pool(self.features(scaled), boxes[own] * ratio)
        return pooled

    def losses(
        self, images: Tensor, targets: list[Objects], proposals: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Fine-tuning's, on 128 windows in all, a quarter of them objects.  (B, C, H, W), B objects, B times (N, 4)

        In train mode each window is looked at in a scale of its own, drawn at random.
        """
        given = self.regions(images, proposals)
        regions = [
            sample_regions(boxes, each, count=max(128 // len(images), 1), background_iou=(0.1, 0.5))
            for boxes, each in zip(given, targets, strict=True)
        ]
        pooled = [
            self.pyramids(image, each.boxes, random_scale=self.training)
            for image, each in zip(images, regions, strict=True)
        ]
        scores, classes = self.classify(torch.cat(pooled)), torch.cat([each.classes for each in regions])
        return {"classes": F.cross_entropy(scores, classes) if len(classes) else scores.sum()}

    def judge(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        if self.svms is None:
            return self.classify(self.pyramids(image, boxes)).softmax(1)[:, 1:], boxes
        pool5, features = self.describe(image, boxes, ("pool5", self.svms.layer))
        return self.svms(features), decode(self.svms.codes(pool5), boxes.unsqueeze(1))


@register(
    task="detection",
    paper="he2014_spp",
    input_shape=(3, 600, 1000),
    num_classes=20,
    traits=Traits(searches_regions=True),
)
def sppnet_zf5(*, num_classes: int = 20, in_channels: int = 3) -> SPPDetector:
    """SPPnet's detector on ZF-5: five scales, and only the fully connected layers learn."""
    return SPPDetector(zf_trunk(in_channels), num_classes=num_classes)
