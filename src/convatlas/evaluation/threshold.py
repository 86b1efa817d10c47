"""Decisions at a threshold of one's own: of two classes the second, or an object, is taken from a score on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from convatlas.errors import UsageError
from convatlas.evaluation.functional import confusion_matrix
from convatlas.records import DetectionEvaluation, Evaluation, Prediction


@dataclass(frozen=True)
class AtThreshold:
    """What a detector's answers for one class are worth from a score on; NaN where nothing is counted."""

    name: str
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else total


def check_binary(classes: Sequence[str]) -> None:
    """Raises UsageError where there are not two classes to decide between."""
    if len(classes) != 2:
        raise UsageError(
            f"threshold decides between two classes; this network tells {len(classes)} apart, whose largest wins"
        )


def decide(evaluation: Evaluation, threshold: float) -> Evaluation:
    """The evaluation with the second class taken where its probability is at least `threshold`.

    Args:
        evaluation: of two classes.
        threshold: in [0, 1]; 0.5 changes nothing but ties.

    Raises:
        UsageError: another number of classes.
    """
    check_binary(evaluation.classes)
    decided = (evaluation.probabilities[:, 1] >= threshold).to(torch.int64)
    return replace(
        evaluation,
        top1_error=float((decided != evaluation.labels).double().mean()),
        confusion=confusion_matrix(decided, evaluation.labels, 2),
    )


def decide_prediction(prediction: Prediction, classes: Sequence[str], threshold: float) -> Prediction:
    """The prediction with the class first that the threshold decides for; probabilities stay as they are."""
    both = dict(zip(prediction.classes, prediction.probabilities, strict=True))
    first = classes[int(both.get(classes[1], 1 - sum(both.values())) >= threshold)]
    order = sorted(both, key=lambda name: name != first)
    return replace(prediction, classes=tuple(order), probabilities=tuple(both[name] for name in order))


def at_threshold(evaluation: DetectionEvaluation, threshold: float) -> list[AtThreshold]:
    """Precision and recall of each class, at IoU 0.5, of the detections with at least this score."""
    rows = []
    for name, curve in zip(evaluation.classes, evaluation.curves, strict=True):
        count = int((curve.scores >= threshold).sum())
        if count:
            rows.append(AtThreshold(name, curve.precision[count - 1].item(), curve.recall[count - 1].item()))
        else:
            rows.append(AtThreshold(name, float("nan"), 0.0 if curve.objects else float("nan")))
    return rows
