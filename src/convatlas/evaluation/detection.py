"""Average precision by the rules of the PASCAL VOC devkit, and the recall of proposals. Pure functions.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88, 2010; VOCevaldet.m of the devkits of
2007 and 2010. Boxes are pixel edges. The devkit counts pixels from 1 and its boxes hold their last pixel, so that its
widths are xmax - xmin + 1: the same numbers as x2 - x1 of the edges (xmin - 1, xmax). One overlap serves both.

Departs  The 2007 rule asks for precision at recalls of at least 0, 0.1, ..., 1. Ours compares whole numbers; in the
         devkit's floating point a recall of 3 / 10 falls short of its 0.3 by one rounding.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from convatlas.lazy import Lazy
from convatlas.records import Detections, Objects, PrecisionRecall

ops = Lazy("torchvision.ops")

FALSE, TRUE, IGNORED = 0, 1, -1
_ELEVEN = 11  # recalls at which the 2007 rule looks


class Matches(NamedTuple):
    """What became of a class's n detections on all images, the most certain first."""

    scores: Tensor  # (n,) float64; of equal scores the earlier image comes first
    verdicts: Tensor  # (n,) int64: TRUE, FALSE, or IGNORED where the object is a difficult one
    images: Tensor  # (n,) int64: the place of the image
    places: Tensor  # (n,) int64: the place among the image's detections
    overlaps: Tensor  # (n,) float64: IoU with the nearest object of the class, 0 without any
    objects: int  # that were to be found


def match(
    detections: Sequence[Detections], objects: Sequence[Objects], label: int, *, min_overlap: float = 0.5
) -> Matches:
    """Assigns the detections of a class to its objects as the devkit does, over images in one order.

    Every detection looks at the object of its class that it overlaps most. With at least `min_overlap` it is right
    where that object is not taken yet, and takes it; the second detection of an object is false, even if another
    object is near enough. One whose object is difficult is ignored. A score that is NaN comes last, and a box with NaN
    overlaps nothing.

    Raises:
        ValueError: the lengths differ.
    """
    if len(detections) != len(objects):
        raise ValueError(f"{len(detections)} images with detections, {len(objects)} with objects; expected as many")
    scores, nearest, overlaps, difficult, images, places = [], [], [], [], [], []
    before, positives = 0, 0  # objects on earlier images
    for image, (found, marked) in enumerate(zip(detections, objects, strict=True)):
        place, own = (found.labels == label).nonzero()[:, 0].cpu(), (marked.labels == label).nonzero()[:, 0].cpu()
        positives += int((~marked.difficult.cpu()[own]).sum())
        overlap, best = _nearest(found.boxes.cpu()[place], marked.boxes.cpu()[own])
        scores.append(found.scores.cpu().double()[place])
        overlaps.append(overlap)
        nearest.append(before + own[best] if len(own) else torch.full_like(place, -1))
        difficult.append(marked.difficult.cpu()[own][best] if len(own) else torch.zeros(len(place), dtype=torch.bool))
        images.append(torch.full_like(place, image))
        places.append(place)
        before += len(marked.labels)
    if not scores:
        none = torch.zeros(0, dtype=torch.int64)
        return Matches(none.double(), none, none, none, none.double(), 0)
    score = torch.cat(scores).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = score.argsort(descending=True, stable=True)
    overlap, target = torch.cat(overlaps)[order], torch.cat(nearest)[order]
    near = overlap >= min_overlap
    ignored = near & torch.cat(difficult)[order]
    right = near & ~ignored & _first(torch.where(near, target, -1))
    verdicts = torch.where(right, TRUE, torch.where(ignored, IGNORED, FALSE))
    return Matches(score[order], verdicts, torch.cat(images)[order], torch.cat(places)[order], overlap, positives)


def _nearest(boxes: Tensor, marked: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 4), (m, 4) -> the largest overlap of each box, (n,) float64, and whose it is, (n,) int64"""
    if len(marked) == 0 or len(boxes) == 0:
        return torch.zeros(len(boxes), dtype=torch.float64), torch.zeros(len(boxes), dtype=torch.int64)
    return ops.box_iou(boxes.double(), marked.double()).nan_to_num(nan=0.0).max(1)  # of equal overlaps the first


def _first(values: Tensor) -> Tensor:
    """Where a value occurs for the first time: (n,) int64 -> (n,) bool"""
    order = values.argsort(stable=True)
    new = torch.ones(len(values), dtype=torch.bool)
    new[1:] = values[order][1:] != values[order][:-1]
    return torch.empty_like(new).scatter_(0, order, new)


def precision_recall(matches: Matches) -> PrecisionRecall:
    """The curve of a class, one point for every detection that is not ignored."""
    counted = matches.verdicts != IGNORED
    right = (matches.verdicts[counted] == TRUE).cumsum(0).double()
    answers = torch.arange(1, len(right) + 1, dtype=torch.float64)
    recall = right / matches.objects if matches.objects else torch.full_like(right, torch.nan)
    return PrecisionRecall(recall, right / answers, matches.scores[counted], matches.objects)


def average_precision(curve: PrecisionRecall, rule: Literal["voc07", "voc10"]) -> float:
    """The area under a precision-recall curve, in [0, 1]; NaN for a class without objects.

    "voc07" is the mean over the recalls 0, 0.1, ..., 1 of the best precision at that recall or beyond; "voc10" the
    whole area under that envelope.
    """
    if curve.objects == 0:
        return torch.nan
    if len(curve.recall) == 0:
        return 0.0
    envelope = curve.precision.flip(0).cummax(0).values.flip(0)
    found = (curve.recall * curve.objects).round().long()  # objects, whole numbers again
    if rule == "voc10":
        gained = torch.diff(found, prepend=found.new_zeros(1)).double() / curve.objects
        return (gained * envelope).sum().item()
    wanted = torch.arange(_ELEVEN) * curve.objects  # tenfold
    first = torch.searchsorted(10 * found, wanted)  # the first point with at least this recall
    reached = first < len(found)
    return (envelope[first.clamp(max=len(found) - 1)] * reached).sum().item() / _ELEVEN


def voc_average_precision(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    num_classes: int,
    rule: Literal["voc07", "voc10"] = "voc10",
    *,
    min_overlap: float = 0.5,
) -> tuple[Tensor, tuple[PrecisionRecall, ...]]:
    """Average precision and curve of every class: (K,) float64, NaN for a class without objects, and K curves.

    Raises:
        ValueError: lengths differ, or a label is not in 0..K-1.
    """
    for name, marks in (("detections", detections), ("objects", objects)):
        for found in marks:
            if len(found.labels) and not 0 <= int(found.labels.min()) <= int(found.labels.max()) < num_classes:
                raise ValueError(f"{name} have labels outside 0..{num_classes - 1}")
    curves = tuple(
        precision_recall(match(detections, objects, label, min_overlap=min_overlap)) for label in range(num_classes)
    )
    ap = torch.tensor([average_precision(curve, rule) for curve in curves], dtype=torch.float64)
    return ap, curves


class ProposalRecall(NamedTuple):
    """How well class-free boxes cover the objects; NaN without objects."""

    thresholds: Tensor  # (T,) float64 IoU
    recall: Tensor  # (T,) float64
    average: float  # twice the area under recall over IoU 0.5 to 1


def proposal_recall(
    proposals: Sequence[Tensor],
    objects: Sequence[Objects],
    *,
    limit: int | None = None,
    thresholds: Sequence[float] = tuple(step / 100 for step in range(50, 100, 5)),
) -> ProposalRecall:
    """The recall of the first `limit` boxes, (n, 4) each, of every image; difficult objects are left out.

    Boxes and objects are paired one to one, the best overlap of an image first, as in Hosang et al., "What makes for
    effective detection proposals?", TPAMI 38, 2016 (arXiv:1502.05082), whose average recall is given too: the area is
    exact, 2 * mean(max(IoU - 0.5, 0)).

    Raises:
        ValueError: the lengths differ.
    """
    if len(proposals) != len(objects):
        raise ValueError(f"{len(proposals)} images with proposals, {len(objects)} with objects; expected as many")
    best = [
        _paired(boxes[:limit].cpu(), marked.boxes[~marked.difficult].cpu())
        for boxes, marked in zip(proposals, objects, strict=True)
    ]
    overlaps = torch.cat([torch.zeros(0, dtype=torch.float64), *best])
    wanted = torch.tensor(list(thresholds), dtype=torch.float64)
    recall = (overlaps[None] >= wanted[:, None]).double().mean(1)  # of nothing it is NaN, as wanted
    return ProposalRecall(wanted, recall, 2 * (overlaps - 0.5).clamp(min=0).mean().item())


def _paired(boxes: Tensor, marked: Tensor) -> Tensor:
    """(n, 4), (m, 4) -> the overlap that each object gets, (m,) float64"""
    got = torch.zeros(len(marked), dtype=torch.float64)
    if len(boxes) == 0 or len(marked) == 0:
        return got
    overlaps = ops.box_iou(boxes.double(), marked.double()).nan_to_num(nan=0.0)
    for _ in range(min(overlaps.shape)):
        box, place = divmod(int(overlaps.argmax()), overlaps.shape[1])
        got[place] = overlaps[box, place].clamp(min=0)
        overlaps[box], overlaps[:, place] = -1.0, -1.0
    return got
