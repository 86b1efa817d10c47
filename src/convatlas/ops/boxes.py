"""Boxes: how they are coded, matched with what was marked, chosen for the loss, and thinned out at the end.

Girshick, "Fast R-CNN", ICCV 2015, and Girshick et al., "Rich feature hierarchies", CVPR 2014, appendix C: the code.
Ren, He, Girshick, Sun, "Faster R-CNN", NIPS 2015, section 3.1.2: anchors.
Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2: default boxes and hard negatives.

Boxes are x1, y1, x2, y2; a width is x2 - x1, without the 1 that the first releases added. The smooth L1 loss of the
codes is `torch.nn.functional.smooth_l1_loss`, with `beta` 1 (Fast R-CNN, SSD) or 1/9 (the RPN).

Shapes   N boxes, G marked objects, K classes, ... any leading axes, which broadcast.
"""

import math

import torch
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.records import Detections

ops = Lazy("torchvision.ops")

BACKGROUND = -1
NEITHER = -2

Variances = tuple[float, float, float, float]

PLAIN: Variances = (1.0, 1.0, 1.0, 1.0)
SSD_VARIANCES: Variances = (0.1, 0.1, 0.2, 0.2)  # the standard deviations of Fast R-CNN's targets are the same
LARGEST_LOG_SCALE = math.log(1000 / 16)  # a box of 16 px grows to 1000 px at most


def encode(boxes: Tensor, references: Tensor, *, variances: Variances = PLAIN) -> Tensor:
    """How `boxes`, which have an area, differ from `references`: dx, dy, dw, dh.  (..., 4), (..., 4) -> (..., 4)

    Centres differ in widths and heights of the reference, sizes by their logarithm; both are divided by `variances`.
    """
    x, y, w, h = ops.box_convert(boxes, "xyxy", "cxcywh").unbind(-1)
    rx, ry, rw, rh = ops.box_convert(references, "xyxy", "cxcywh").unbind(-1)
    code = torch.stack([(x - rx) / rw, (y - ry) / rh, torch.log(w / rw), torch.log(h / rh)], -1)
    return code / code.new_tensor(variances)


def decode(codes: Tensor, references: Tensor, *, variances: Variances = PLAIN) -> Tensor:
    """The boxes that `codes` stand for.  (..., 4), (..., 4) -> (..., 4)

    The logarithms of sizes are cut off at `LARGEST_LOG_SCALE`, so that no box becomes infinite.
    """
    dx, dy, dw, dh = (codes * codes.new_tensor(variances)).unbind(-1)
    rx, ry, rw, rh = ops.box_convert(references, "xyxy", "cxcywh").unbind(-1)
    w, h = (log_scale.clamp(max=LARGEST_LOG_SCALE).exp() for log_scale in (dw, dh))
    return ops.box_convert(torch.stack([rx + dx * rw, ry + dy * rh, w * rw, h * rh], -1), "cxcywh", "xyxy")


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """The IoU of each box with its own partner; 0 where neither has an area.  (..., 4), (..., 4) -> (...)"""
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=torch.finfo(shared.dtype).tiny)


def match_default_boxes(overlaps: Tensor, *, threshold: float = 0.5) -> Tensor:
    """SSD's matching: the object of each default box, or BACKGROUND.  IoU (G, N) -> (N,) int64

    First every object takes the default box that overlaps it most, the pair of largest IoU before the others, as in
    the release: no two objects take the same one. Then each free default box takes the object that it overlaps most,
    where the IoU is at least `threshold`. An object that overlaps no free default box takes none.
    """
    matches = overlaps.new_full(overlaps.shape[1:], BACKGROUND, dtype=torch.int64)
    if not overlaps.numel():
        return matches
    largest, nearest = overlaps.max(0)
    matches = torch.where(largest >= threshold, nearest, matches)
    free = overlaps.clone()
    for _ in range(len(overlaps)):
        pair = int(free.argmax())
        thing, box = divmod(pair, free.shape[1])
        if free[thing, box] <= 0:
            break
        matches[box] = thing
        free[thing], free[:, box] = 0, 0
    return matches


def match_anchors(overlaps: Tensor, *, positive: float = 0.7, negative: float = 0.3) -> Tensor:
    """Faster R-CNN's matching: the object of each anchor, BACKGROUND or NEITHER.  IoU (G, N) -> (N,) int64

    An anchor takes the object that it overlaps most where the IoU is at least `positive`, or where no anchor overlaps
    some object more. It is background where the IoU with every object is below `negative`.

    Raises:
        UsageError: `negative` is larger than `positive`.
    """
    if negative > positive:
        raise UsageError(f"negative is {negative}; expected at most {positive}, the IoU of a positive anchor")
    if not overlaps.numel():
        return overlaps.new_full(overlaps.shape[1:], BACKGROUND, dtype=torch.int64)
    largest, nearest = overlaps.max(0)
    best_of_some_object = ((overlaps == overlaps.amax(1, keepdim=True)) & (overlaps > 0)).any(0)
    matches = nearest.new_full(nearest.shape, NEITHER)
    matches[largest < negative] = BACKGROUND
    return torch.where((largest >= positive) | best_of_some_object, nearest, matches)


def hard_negatives(losses: Tensor, positive: Tensor, *, ratio: float = 3.0) -> Tensor:
    """The negatives with the largest losses, at most `ratio` for each positive of an image.

    Args:
        losses: (B, N) of the background, without gradient.
        positive: (B, N) bool.

    Returns:
        (B, N) bool.
    """
    order = losses.masked_fill(positive, -math.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    count = (positive.sum(1, keepdim=True) * ratio).long()
    return (rank < count) & ~positive


def suppress(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_above: float,
    iou_above: float,
    most: int | None = None,
    most_per_class: int | None = None,
) -> Detections:
    """Greedy suppression in each class: of boxes with an IoU over `iou_above` the most certain stays.

    Args:
        boxes: (N, 4), or (N, K, 4) where each class has its own.
        scores: (N, K), without the background.
        score_above: boxes of a class that score no more are left out.
        most: so many stay in all, the most certain ones; None: all.
        most_per_class: so many of a class, the most certain ones, enter the suppression; None: all.
    """
    per_class = boxes.unsqueeze(1).expand(-1, scores.shape[1], -1) if boxes.dim() == 2 else boxes
    if most_per_class is not None and most_per_class < len(scores):
        scores, rows = scores.topk(most_per_class, 0)
        per_class = per_class.gather(0, rows.unsqueeze(-1).expand(-1, -1, 4))
    row, label = (scores > score_above).nonzero(as_tuple=True)
    candidates, certain = per_class[row, label], scores[row, label]
    lowest = torch.cat([per_class.flatten(), per_class.new_zeros(1)]).amin()
    chosen = ops.batched_nms(candidates - lowest, certain, label, iou_above)[:most]  # it takes no coordinates below 0
    return Detections(candidates[chosen], label[chosen], certain[chosen])
