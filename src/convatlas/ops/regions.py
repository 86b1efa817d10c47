"""Regions of an image to learn from: how they are sampled among proposals, and the loss of what a network says of them.

Girshick, "Fast R-CNN", ICCV 2015, section 2.3.

Shapes   B batch, R regions of all images, N of one, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.lazy import Lazy
from convatlas.ops.boxes import SSD_VARIANCES, encode
from convatlas.records import Objects

ops = Lazy("torchvision.ops")


def whole_image(images: Tensor) -> list[Tensor]:
    """One region an image: all of it.  (B, C, H, W) -> B times (1, 4)"""
    height, width = images.shape[2:]
    return [torch.tensor([[0.0, 0.0, width, height]], device=images.device) for _ in range(len(images))]


@dataclass(frozen=True)
class Regions:
    """Regions of one image to learn from."""

    boxes: Tensor  # (N, 4)
    classes: Tensor  # (N,) int64: 0 is background, 1 to K the objects' labels plus 1
    codes: Tensor  # (N, 4): what the box regression should say; 0 for background
    nearest: Tensor  # (N,) int64: which of the `easy` objects each overlaps most; 0 where there is none


IGNORED_SHARE = 0.7  # of a box, from which on it counts as lying in a crowd; Detectron's CROWD_FILTER_THRESH


def lie_in_difficult(boxes: Tensor, objects: Objects) -> Tensor:
    """Which boxes lie mostly in a difficult object or a crowd, and are no background therefore.  (N, 4) -> (N,) bool

    COCO's protocol and Detectron's training divide the intersection by the box's own area: a small box anywhere in a
    crowd lies in it, though its IoU with the crowd is next to nothing.
    """
    crowds = objects.boxes[objects.difficult].to(boxes)
    if not len(crowds) or not len(boxes):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    low = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    own = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=torch.finfo(boxes.dtype).tiny)
    return (shared / own[:, None] > IGNORED_SHARE).any(1)


def without_difficult(objects: Objects) -> Objects:
    """Without the objects that are marked as difficult, which the releases leave out in training.

    What lies in them must not become background either: see `lie_in_difficult`.
    """
    usable = ~objects.difficult
    masks = None if objects.masks is None else objects.masks[usable]
    return Objects(objects.boxes[usable], objects.labels[usable], objects.difficult[usable], masks)


@torch.no_grad()
def sample_regions(
    proposals: Tensor,
    objects: Objects,
    *,
    count: int = 64,
    foreground: float = 0.25,
    foreground_iou: float = 0.5,
    background_iou: tuple[float, float] = (0.1, 0.5),
    difficult: bool = False,
) -> Regions:
    """A random choice among the proposals and the objects themselves (section 2.3).

    Args:
        proposals: (N, 4).
        objects: of the same image.
        count: regions; fewer where there are not enough.
        foreground: at most this part of them have an IoU of at least `foreground_iou` with an object.
        background_iou: the others have a largest IoU in this half-open range, and do not lie in a crowd or in a
            difficult object that does not count.
        difficult: whether objects that are marked as difficult count, as in R-CNN's release alone.
    """
    every, objects = objects, objects if difficult else without_difficult(objects)
    boxes = torch.cat([objects.boxes, proposals.to(objects.boxes)])
    classes = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    codes = torch.zeros_like(boxes)
    largest = boxes.new_zeros(len(boxes))
    nearest = torch.zeros_like(classes)
    if len(objects.boxes):
        largest, nearest = ops.box_iou(boxes, objects.boxes).max(1)
    low, high = background_iou
    near = sample_places(largest >= foreground_iou, round(foreground * count))
    is_background = (largest >= low) & (largest < high)
    if not difficult:
        is_background &= ~lie_in_difficult(boxes, every)
    far = sample_places(is_background, count - len(near))
    if len(near):
        classes[near] = objects.labels[nearest[near]] + 1
        codes[near] = encode(objects.boxes[nearest[near]], boxes[near], variances=SSD_VARIANCES)
    chosen = torch.cat([near, far])
    return Regions(boxes[chosen], classes[chosen], codes[chosen], nearest[chosen])


def sample_places(wanted: Tensor, max_places: int) -> Tensor:
    """At most so many of the places where `wanted` is true, drawn at random."""
    places = wanted.nonzero().squeeze(1)
    return places[torch.randperm(len(places), device=places.device)[:max_places]]


def region_losses(scores: Tensor, codes: Tensor, regions: Sequence[Regions]) -> dict[str, Tensor]:
    """The multi-task loss (section 2.3, equation 1), averaged over regions; lambda is 1.

    Args:
        scores: (R, K + 1), the background first.
        codes: (R, 4 (K + 1)).
        regions: of each image, in the order of the rows.
    """
    classes = torch.cat([each.classes for each in regions])
    wanted = torch.cat([each.codes for each in regions])
    if not len(classes):
        nothing = scores.sum() + codes.sum()  # 0, with a gradient
        return {"classes": nothing, "boxes": nothing}
    objects = classes > 0
    own = codes.unflatten(1, (-1, 4))[torch.arange(len(classes), device=classes.device), classes]
    boxes = F.smooth_l1_loss(own[objects], wanted[objects], reduction="sum") / len(classes)
    return {"classes": F.cross_entropy(scores, classes), "boxes": boxes}
