"""Masks of single objects: what a region's should be, its loss, and a region's mask back in its image.

He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, section 3.

Shapes   M regions with an object, H x W image, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.ops.regions import Regions, without_difficult
from convatlas.records import Objects

ops = Lazy("torchvision.ops")

SIDE = 28  # of a mask


def mask_targets(regions: Regions, objects: Objects) -> Tensor:
    """What of each region with an object is the object.  -> (M, 28, 28), 0 or 1

    Raises:
        UsageError: the objects have no masks.
    """
    if objects.masks is None:
        raise UsageError("targets have no masks; expected data with one for each object, as COCO's segmentations")
    masks = without_difficult(objects).masks
    near = regions.classes > 0
    boxes = regions.boxes[near]
    if masks is None or not len(boxes):
        return boxes.new_zeros(0, SIDE, SIDE)
    rows = torch.cat([regions.nearest[near].to(boxes).unsqueeze(1), boxes], 1)
    return (ops.roi_align(masks.to(boxes).unsqueeze(1), rows, SIDE, aligned=True).squeeze(1) >= 0.5).to(boxes)


def mask_loss(logits: Tensor, classes: Tensor, wanted: Tensor) -> Tensor:
    """The mean binary cross-entropy of the true class's mask.  (M, K + 1, 28, 28), (M,), (M, 28, 28) -> scalar"""
    if not len(classes):
        return logits.sum()  # 0, with a gradient
    own = logits[torch.arange(len(classes), device=classes.device), classes]
    return F.binary_cross_entropy_with_logits(own, wanted)


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], *, above: float = 0.5) -> Tensor:
    """Each mask stretched to its box, read bilinearly in the middle of each pixel; 0 around it.

    (M, n, n) in [0, 1], (M, 4) -> (M, H, W) bool
    """
    height, width = size
    pasted = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    for canvas, mask, (x1, y1, x2, y2) in zip(pasted, masks, boxes.tolist(), strict=True):
        left, right = max(int(x1), 0), min(-int(-x2 // 1), width)
        top, bottom = max(int(y1), 0), min(-int(-y2 // 1), height)
        if right <= left or bottom <= top:
            continue
        x = (torch.arange(left, right, device=masks.device) + 0.5 - x1) / max(x2 - x1, 1e-6) * 2 - 1
        y = (torch.arange(top, bottom, device=masks.device) + 0.5 - y1) / max(y2 - y1, 1e-6) * 2 - 1
        places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
        read = F.grid_sample(mask[None, None], places[None].to(mask), align_corners=False)[0, 0]
        canvas[top:bottom, left:right] = read > above
    return pasted
