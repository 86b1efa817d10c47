"""R-CNN: a classifier of images looks at two thousand regions of one image, each warped to its input.

Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection and semantic segmentation",
CVPR 2014, arXiv:1311.2524.

Follows  Sections 2 and 3, appendices A and C, and the authors' release: CaffeNet, anisotropic warping with 16 pixels of
         context, fine-tuning on 32 regions with an object and 96 without in a batch of 128; then the SVMs and the box
         regression of `blocks.region_svms`. Layer names are the release's.
Departs  `rcnn_ilsvrc13`'s last layer is the 200 SVMs of the release, called fc-rcnn there and fc8 here; as in the
         release it has no box regression.
         Without SVMs `detect` takes the fine-tuned softmax, which the paper finds 3.3 points of mAP worse.
Shapes   B batch, C channels, H x W image, N regions of one image, R of all, K classes, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.architectures.classification.alexnet import CaffeNet
from convatlas.blocks.region_svms import LAYERS, SvmHeads, WithSvms
from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.ops.boxes import decode
from convatlas.ops.regions import lie_in_difficult, sample_regions, without_difficult
from convatlas.records import Objects, Traits
from convatlas.registry import register

ops = Lazy("torchvision.ops")

SIDE = 227
CONTEXT = 16
AT_ONCE = 128  # windows in one forward pass


def warp(image: Tensor, boxes: Tensor, *, side: int = SIDE, context: int = CONTEXT) -> Tensor:
    """Each region stretched to a square (appendix A).  (C, H, W), (N, 4) -> (N, C, side, side)

    The region is enlarged so that `context` pixels of the square surround it. What lies outside the image is 0: the
    mean, where it was subtracted.
    """
    windows = image.new_zeros(len(boxes), image.shape[0], side, side)
    scale = side / (side - 2 * context)
    for window, (x1, y1, x2, y2) in zip(windows, boxes.tolist(), strict=True):
        half_w, half_h = scale * (x2 - x1) / 2, scale * (y2 - y1) / 2
        left, right = (round((x1 + x2) / 2 + sign * half_w) for sign in (-1, 1))
        top, bottom = (round((y1 + y2) / 2 + sign * half_h) for sign in (-1, 1))
        wide, high = side / max(right - left, 1), side / max(bottom - top, 1)  # pixels of the square for one of ours
        cut = image[:, max(top, 0) : max(bottom, 1), max(left, 0) : max(right, 1)]
        x, y = round(max(-left, 0) * wide), round(max(-top, 0) * high)
        if not cut.numel() or x >= side or y >= side:
            continue  # all of it lies outside
        size = (min(max(round(cut.shape[1] * high), 1), side - y), min(max(round(cut.shape[2] * wide), 1), side - x))
        window[:, y : y + size[0], x : x + size[1]] = F.interpolate(cut[None], size, mode="bilinear")[0]
    return windows


class RCNN(WithSvms, CaffeNet):
    """(B, in_channels, 227, 227) windows -> (B, K + 1) logits, the background first; or (B, K) without background.

    Args:
        num_classes: K.
        in_channels: of the images.
        background: whether the last layer has an output for it. Without it, its outputs are SVMs.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, background: bool = True) -> None:
        super().__init__(num_svms=num_classes, num_classes=num_classes + background, in_channels=in_channels)
        self.background = background
        if not background:
            self.svm_layers = ("fc7",)  # whose output the last layer gets

    def forward(self, windows: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        for name, layer in self.named_children():
            if name != "svms":  # which stand beside the last layer
                windows = layer(windows)
        return windows

    def features(self, windows: Tensor, layers: Sequence[str] = ("fc7",)) -> tuple[Tensor, ...]:
        """The outputs of these layers, rectified.  (N, C, 227, 227) -> (N, D) each"""
        wanted, outputs = [_rectified(layer) for layer in layers], {}
        x = windows
        for name, layer in self.named_children():
            x = layer(x)
            if name in wanted:
                outputs[name] = x.flatten(1)
            if len(outputs) == len(set(wanted)):
                break
        return tuple(outputs[name] for name in wanted)

    def describe(self, image: Tensor, boxes: Tensor, layers: Sequence[str] = ("fc7",)) -> tuple[Tensor, ...]:
        """As `features`, of each region of an image.  (C, H, W), (N, 4) -> (N, D) each"""
        parts = [self.features(warp(image, part), layers) for part in boxes.split(AT_ONCE)]
        return tuple(torch.cat(values) for values in zip(*parts, strict=True))

    @property
    def gives_margins(self) -> bool:
        return self.svms is not None or not self.background

    def take_svms(self, heads: SvmHeads) -> None:
        """They stand beside the last layer, or become it where it has no output for the background."""
        if self.background:
            self.svms = heads
            return
        last = self.get_submodule("fc8")
        with torch.no_grad():
            last.get_parameter("weight").copy_(heads.weight)
            last.get_parameter("bias").copy_(heads.bias)

    def losses(
        self, images: Tensor, targets: list[Objects], proposals: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Fine-tuning's, on 128 regions in all, a quarter of them objects.  (B, C, H, W), B objects, B times (N, 4)

        Without a background: the hinge loss of each class on the objects, and on regions with an IoU below 0.3.
        """
        given = self.regions(images, proposals)
        if not self.background:
            return self._hinge(images, targets, given)
        count = max(AT_ONCE // len(images), 1)
        regions = [
            sample_regions(boxes, each, count=count, background_iou=(0.0, 0.5), difficult=True)
            for boxes, each in zip(given, targets, strict=True)
        ]
        windows = torch.cat([warp(image, each.boxes) for image, each in zip(images, regions, strict=True)])
        return {"classes": F.cross_entropy(self(windows), torch.cat([each.classes for each in regions]))}

    def _hinge(self, images: Tensor, targets: list[Objects], given: list[Tensor]) -> dict[str, Tensor]:
        windows, signs = [], []
        for image, every, boxes in zip(images, targets, given, strict=True):
            each = without_difficult(every)
            is_far = (ops.box_iou(boxes, each.boxes) < 0.3).all(1) & ~lie_in_difficult(boxes, every)
            far = boxes[is_far]
            far = far[torch.randperm(len(far), device=far.device)[: max(AT_ONCE // len(images), 1)]]
            windows.append(warp(image, torch.cat([each.boxes, far])))
            right = F.one_hot(each.labels, self.get_submodule("fc8").get_parameter("bias").numel())
            signs.append(F.pad(2.0 * right - 1, (0, 0, 0, len(far)), value=-1.0))
        margins = torch.cat(signs) * self(torch.cat(windows))
        return {"hinge": (1 - margins).clamp(min=0).sum(1).mean()}

    def judge(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self._judge(warp(image, part), part) for part in boxes.split(AT_ONCE)]  # of none: one, empty
        scores, fitted = (torch.cat(values) for values in zip(*parts, strict=True))
        return scores, fitted

    def _judge(self, windows: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K) scores, and the boxes: (N, 4), or (N, K, 4) where they are regressed."""
        if self.svms is not None:
            pool5, features = self.features(windows, ("pool5", self.svms.layer))
            return self.svms(features), decode(self.svms.codes(pool5), boxes.unsqueeze(1))
        scores = self(windows)
        return (scores.softmax(1)[:, 1:] if self.background else scores), boxes


def _rectified(layer: str) -> str:
    """The module that gives a layer's output as it is used: that of pool5 itself, of fc6 and fc7 after the relu."""
    if layer not in LAYERS:
        raise UsageError(f"layer is {layer!r}; expected one of {', '.join(LAYERS)}")
    return layer.replace("fc", "relu")


@register(
    task="detection",
    paper="girshick2014_rcnn",
    input_shape=(3, 227, 227),
    num_classes=20,
    traits=Traits(window_px=SIDE, searches_regions=True),
)
def rcnn_alexnet_voc_finetune(*, num_classes: int = 20, in_channels: int = 3) -> RCNN:
    """R-CNN's CaffeNet as it was fine-tuned on VOC: an output for each class and one for the background."""
    return RCNN(num_classes=num_classes, in_channels=in_channels)


@register(
    task="detection",
    paper="girshick2014_rcnn",
    input_shape=(3, 227, 227),
    num_classes=200,
    traits=Traits(window_px=SIDE, searches_regions=True),
)
def rcnn_ilsvrc13(*, num_classes: int = 200, in_channels: int = 3) -> RCNN:
    """R-CNN for the 200 classes of ILSVRC-2013, with the SVMs as its last layer. They stand on fc7."""
    return RCNN(num_classes=num_classes, in_channels=in_channels, background=False)
