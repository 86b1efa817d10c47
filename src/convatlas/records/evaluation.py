"""Results of networks on annotated images, and results that papers printed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from convatlas.records.images import Problem
from convatlas.records.predictions import Detections

if TYPE_CHECKING:
    from torch import Tensor

SCORES = {
    "mean_iu": "mean IoU",
    "pixel_accuracy": "pixel accuracy",
    "pck": "PCK",
    "pck_without_trunk": "PCK without pelvis and thorax",
    "mean_ap": "mAP",
}
"""What people call the entries of an evaluation's `scores`; the first of a task is what its error is taken from."""

TRUNK = frozenset(("pelvis", "thorax"))


@dataclass(frozen=True)
class APProtocol:
    """A way to measure average precision, as people call it."""

    name: str  # "VOC 2010"
    rule: str  # "IoU 0.5, all points"

    def __str__(self) -> str:
        return f"{self.name} ({self.rule})"


AP_PROTOCOLS = {
    "voc07": APProtocol("VOC 2007", "IoU 0.5, 11 points"),
    "voc10": APProtocol("VOC 2010", "IoU 0.5, all points"),
    "coco": APProtocol("COCO", "mean over IoU 0.5 to 0.95"),
}
"""The protocols of `DetectionEvaluation`, whose names stand beside every mean AP."""


def score_name(score: str, protocol: str | None) -> str:
    """The name of an entry of `scores` for a column or a line: "mean IoU", "mAP (VOC 2010)".

    >>> score_name("mean_ap", "voc10"), score_name("pck", "one view")
    ('mAP (VOC 2010)', 'PCK')
    """
    measured_by = AP_PROTOCOLS.get(protocol or "") if score == "mean_ap" else None
    return f"{SCORES[score]} ({measured_by.name})" if measured_by else SCORES[score]


def protocol_words(evaluation: AnyEvaluation) -> str:
    """How a result was measured, for a sentence: "one view", "mean AP, VOC 2010 (IoU 0.5, all points)"."""
    if isinstance(evaluation, DetectionEvaluation):
        return f"mean AP, {AP_PROTOCOLS[evaluation.protocol]}"
    return evaluation.protocol


@dataclass(frozen=True)
class Evaluation:
    """The result of a classifier on N labelled samples with K classes."""

    classes: tuple[str, ...]
    labels: Tensor  # (N,) int64
    probabilities: Tensor  # (N, K) float32
    loss: float  # mean over samples, the recipe's loss
    top1_error: float  # fractions in [0, 1]
    top5_error: float | None  # None below six classes
    confusion: Tensor  # (K, K) int64, rows are true classes
    seconds: float
    problems: tuple[Problem, ...] = ()
    protocol: str = "one view"  # how each image was looked at, in words

    @property
    def error(self) -> float:
        """What training tries to make small."""
        return self.top1_error

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {}


@dataclass(frozen=True)
class SegmentationEvaluation:
    """The result of a segmenter on masks of K classes; the four fractions are those of Long et al. 2015."""

    classes: tuple[str, ...]
    confusion: Tensor  # (K, K) int64, pixels, rows are true classes; void is left out
    loss: float  # mean over images, the recipe's loss
    pixel_accuracy: float  # fractions in [0, 1], NaN without a counted pixel
    mean_accuracy: float  # over the classes that occur in the truth
    mean_iu: float  # over the classes that occur in the truth or in the prediction
    frequency_weighted_iu: float
    seconds: float
    problems: tuple[Problem, ...] = ()
    protocol: str = "whole image"  # how each image was looked at, in words

    @property
    def error(self) -> float:
        """What training tries to make small: 1 - mean IoU."""
        return 1 - self.mean_iu

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {"mean_iu": self.mean_iu, "pixel_accuracy": self.pixel_accuracy}


@dataclass(frozen=True)
class PrecisionRecall:
    """What a detector's answers for one class are worth, the n that count in the order of their scores."""

    recall: Tensor  # (n,) float64: of the class's objects, how many were found down to this score; NaN without objects
    precision: Tensor  # (n,) float64: of the answers down to this score, how many were right
    scores: Tensor  # (n,) float64
    objects: int  # that were to be found; difficult ones are none


@dataclass(frozen=True)
class DetectionEvaluation:
    """The result of a detector on N images with K classes."""

    classes: tuple[str, ...]
    ap: Tensor  # (K,) float64: average precision in [0, 1]; NaN for a class without objects
    protocol: Literal["voc07", "voc10", "coco"]
    curves: tuple[PrecisionRecall, ...]  # one a class, at IoU 0.5
    numbers: dict[str, float]  # what else the protocol names: "AP50", "AR100", ...; NaN where undefined
    loss: float  # mean over images; NaN where it was not asked for
    seconds: float
    problems: tuple[Problem, ...] = ()
    detections: tuple[Detections, ...] = ()  # of each image, in the split's order and the image's pixels

    @property
    def mean_ap(self) -> float:
        """Over the classes that have objects; NaN where none has."""
        return self.ap.nanmean().item()

    @property
    def error(self) -> float:
        """What training tries to make small."""
        return 1 - self.mean_ap

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        return {"mean_ap": self.mean_ap}


@dataclass(frozen=True)
class PoseEvaluation:
    """The result of a pose network on N people with J joints."""

    joints: tuple[str, ...]
    distances: Tensor  # (N, J) float64, in the measure's lengths; NaN where a joint is not marked
    loss: float  # mean over people, the recipe's loss
    measure: str  # "PCKh@0.5": lengths of the head, right up to 0.5 of them
    threshold: float
    correct: float  # fraction of all marked joints that are right; NaN without any
    correct_of_joint: Tensor  # (J,) float64
    seconds: float
    problems: tuple[Problem, ...] = ()
    protocol: str = "one view"  # how each image was looked at, in words

    @property
    def error(self) -> float:
        """What training tries to make small: 1 - PCKh."""
        return 1 - self.correct

    @property
    def limbs_correct(self) -> float:
        """The fraction without pelvis and thorax, which the usual evaluators of MPII leave out of the mean."""
        kept = [place for place, joint in enumerate(self.joints) if joint not in TRUNK]
        distances = self.distances[:, kept]
        marked = ~distances.isnan()
        return float((distances <= self.threshold).sum() / marked.sum()) if bool(marked.any()) else math.nan

    def scores(self) -> dict[str, float]:
        """What is worth a column of its own beside loss and error."""
        further = {"pck_without_trunk": self.limbs_correct} if TRUNK & set(self.joints) else {}
        return {"pck": self.correct} | further


@dataclass(frozen=True)
class PublishedResult:
    """Test errors of one network as a source printed them, in percent."""

    data: str  # "ILSVRC-2012 validation", "CIFAR-10 test"
    protocol: str  # as `Evaluation.protocol` says it, "10 crops" or "" for the whole image; and what else belongs here
    top1_error: str | None = None  # "40.7"; None: not printed
    top5_error: str | None = None
    printed_for: str = ""  # "shortcut option A", where the source has no number of the very network

    def __str__(self) -> str:
        printed = ((self.top1_error, "top-1 " if self.top5_error else ""), (self.top5_error, "top-5 "))
        errors = " and ".join(f"{value}% {name}".rstrip() for value, name in printed if value is not None)
        other = f"printed for {self.printed_for}" if self.printed_for else ""
        return ", ".join(filter(None, (f"{errors} error on {self.data}", self.protocol, other)))


AnyEvaluation: TypeAlias = Evaluation | SegmentationEvaluation | DetectionEvaluation | PoseEvaluation
"""The result of a network of any task: all have `loss`, `error`, `seconds`, `problems`, `protocol` and `scores()`."""
