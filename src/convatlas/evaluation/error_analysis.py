"""What kind of mistakes a detector makes.

Hoiem, Chodpathumwan and Dai, "Diagnosing Error in Object Detectors", ECCV 2012: a false detection is one of
localisation (an object of its class, badly framed or found twice), of confusion with a similar or another class, or of
background.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.evaluation.detection import FALSE, TRUE, Matches, average_precision, match, precision_recall
from convatlas.lazy import Lazy
from convatlas.records import Detections, Objects, PrecisionRecall

ops = Lazy("torchvision.ops")

KINDS = ("correct", "localisation", "similar", "other", "background")
CORRECT, LOCALISATION, SIMILAR, OTHER, BACKGROUND = range(5)
NEAR = 0.1  # overlap from which a detection has to do with an object
VOC_GROUPS = (
    {"aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"},
    {"bird", "cat", "cow", "dog", "horse", "person", "sheep"},
    {"chair", "diningtable", "sofa"},
    {"aeroplane", "bird"},
)  # of similar classes, by Hoiem


@dataclass(frozen=True)
class ClassErrors:
    """One class: its first n detections, n being the number of its objects, by kind; and what the mistakes cost."""

    counts: tuple[int, ...]  # by `KINDS`; what lies on difficult objects is in none
    trend: tuple[tuple[float, tuple[int, ...]], ...]  # the same for the first n / 8, n / 4, ..., 8 n
    ap: float
    ap_without: tuple[float, ...]  # by `KINDS`, were the false detections of this kind gone; NaN for "correct"
    missed: int  # objects that no detection has found, whatever its score
    objects: int


def similar_classes(classes: Sequence[str], groups: Sequence[Collection[str]] = VOC_GROUPS) -> Tensor:
    """Which classes are in one group with which: (K, K) bool, none with itself."""
    found = torch.zeros(len(classes), len(classes), dtype=torch.bool)
    for group in groups:
        members = torch.tensor([name in group for name in classes])
        found |= members[:, None] & members
    return found & ~torch.eye(len(classes), dtype=torch.bool)


def error_kinds(
    matches: Matches, detections: Sequence[Detections], objects: Sequence[Objects], label: int, similar: Tensor
) -> Tensor:
    """The kind of each detection in the order of `matches`, -1 for those that are ignored: (n,) int64

    The first that fits of: localisation, an overlap of at least 0.1 with an object of the class; similar and other,
    the same with one of another class; background.
    """
    kinds = torch.full_like(matches.verdicts, -1)
    for place in range(len(kinds)):
        if matches.verdicts[place] == TRUE:
            kinds[place] = CORRECT
        elif matches.verdicts[place] == FALSE:
            truth = objects[int(matches.images[place])]
            box = detections[int(matches.images[place])].boxes[int(matches.places[place])]
            kinds[place] = _kind(box, truth, label, similar)
    return kinds


def _kind(box: Tensor, truth: Objects, label: int, similar: Tensor) -> int:
    if len(truth.labels) == 0:
        return BACKGROUND
    near = truth.labels[ops.box_iou(box[None].double(), truth.boxes.double())[0] >= NEAR]
    if (near == label).any():
        return LOCALISATION
    if similar[label][near].any():
        return SIMILAR
    return OTHER if len(near) else BACKGROUND


def analyse(
    detections: Sequence[Detections], objects: Sequence[Objects], classes: Sequence[str],
    groups: Sequence[Collection[str]] = VOC_GROUPS,
) -> tuple[ClassErrors, ...]:  # fmt: skip
    """The mistakes of every class, by VOC's matching at IoU 0.5.

    Args:
        detections: of each image.
        objects: of the same images in the same order.
        classes: K names.
        groups: of names that are similar; those that are not among the K are passed over.
    """
    similar = similar_classes(classes, groups)
    found = []
    for label in range(len(classes)):
        matches = match(detections, objects, label)
        kinds = error_kinds(matches, detections, objects, label, similar)
        curve = precision_recall(matches)
        counted, n = kinds[kinds >= 0], matches.objects
        costs = [torch.nan, *(_ap_without(matches, kinds, kind) for kind in range(1, len(KINDS)))]
        trend = [(2.0**step, _by_kind(counted[: round(n * 2.0**step)])) for step in range(-3, 4)]
        missed = n - int((matches.verdicts == TRUE).sum())
        ap = average_precision(curve, "voc10")
        found.append(ClassErrors(_by_kind(counted[:n]), tuple(trend), ap, tuple(costs), missed, n))
    return tuple(found)


def _by_kind(kinds: Tensor) -> tuple[int, ...]:
    return tuple(torch.bincount(kinds, minlength=len(KINDS)).tolist())


def _ap_without(matches: Matches, kinds: Tensor, kind: int) -> float:
    kept = kinds != kind
    rest = matches._replace(scores=matches.scores[kept], verdicts=matches.verdicts[kept])
    return average_precision(precision_recall(rest), "voc10")


def best_threshold(curve: PrecisionRecall) -> float:
    """The score from which on answers give the largest F1; infinite without any right answer."""
    if len(curve.scores) == 0 or curve.objects == 0 or curve.recall[-1] == 0:
        return torch.inf
    f1 = 2 * curve.precision * curve.recall / (curve.precision + curve.recall)
    return curve.scores[f1.nan_to_num(nan=0.0).argmax()].item()


class ImageErrors(NamedTuple):
    """One image, with the detections from each class's threshold on."""

    shown: Tensor  # places of these detections, (s,) int64
    right: Tensor  # (s,) bool
    ignored: Tensor  # (s,) bool
    missed: Tensor  # places of objects that none of them found, difficult ones left out

    @property
    def mistakes(self) -> int:
        return int((~self.right & ~self.ignored).sum()) + len(self.missed)


def image_errors(
    detections: Sequence[Detections], objects: Sequence[Objects], thresholds: Sequence[float]
) -> list[ImageErrors]:
    """Every image's mistakes, were the detections from `thresholds` on, one a class, its answers."""
    limits = torch.tensor(list(thresholds), dtype=torch.float64)
    found = []
    for answers, truth in zip(detections, objects, strict=True):
        shown = (answers.scores.double() >= limits[answers.labels]).nonzero()[:, 0]
        kept = Detections(answers.boxes[shown], answers.labels[shown], answers.scores[shown])
        verdicts = torch.zeros(len(shown), dtype=torch.int64)
        taken = truth.difficult.clone()
        for label in range(len(limits)):
            matches = match([kept], [truth], label)
            verdicts[matches.places] = matches.verdicts
            own = (truth.labels == label).nonzero()[:, 0]
            right = matches.places[matches.verdicts == TRUE]
            if len(right):
                taken[own[ops.box_iou(kept.boxes[right].double(), truth.boxes[own].double()).argmax(1)]] = True
        found.append(ImageErrors(shown, verdicts == TRUE, verdicts == -1, (~taken).nonzero()[:, 0]))
    return found


def worst_images(errors: Sequence[ImageErrors], limit: int = 8) -> list[int]:
    """The images with the most mistakes, of equals the first first; those without any are left out."""
    wrong = [place for place, one in enumerate(errors) if one.mistakes]
    return sorted(wrong, key=lambda place: -errors[place].mistakes)[:limit]
