"""The rows of the report's tables: pure functions of an evaluation and of a run's files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from convatlas.evaluation import per_class, wilson_interval
from convatlas.records import Evaluation


@dataclass(frozen=True)
class ClassRow:
    """How one class came out; fractions are None where there is nothing to divide by."""

    name: str
    n: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class Mistake:
    """A sample that was taken for another class."""

    index: int  # into the test part
    true: str
    predicted: str
    probability: float  # of the predicted class
    probability_of_true: float


def error_interval(evaluation: Evaluation) -> tuple[float, float]:
    """The 95% interval of the top-1 error."""
    n = len(evaluation.labels)
    return wilson_interval(round(evaluation.top1_error * n), n)


def class_rows(evaluation: Evaluation) -> list[ClassRow]:
    """One row a class, in the order of the classes."""
    scores = per_class(evaluation.confusion)
    columns = (evaluation.confusion.sum(dim=1), scores.recall, scores.precision, scores.f1)
    rows = zip(evaluation.classes, *(column.tolist() for column in columns), strict=True)
    return [ClassRow(name, n, *(None if math.isnan(x) else x for x in values)) for name, n, *values in rows]


def confident_mistakes(evaluation: Evaluation, limit: int = 24) -> list[Mistake]:
    """The mistakes with the highest probability for the wrong class, highest first.

    Among equals (a saturated softmax gives 1.0 to many) the one that gave the true class least stands first.
    """
    probability, predicted = evaluation.probabilities.max(dim=1)
    of_true = evaluation.probabilities.gather(1, evaluation.labels.unsqueeze(1)).squeeze(1)
    wrong = (predicted != evaluation.labels).nonzero().squeeze(1)
    order = sorted(wrong.tolist(), key=lambda i: (-float(probability[i]), float(of_true[i]), i))
    names = evaluation.classes
    return [
        Mistake(i, names[int(evaluation.labels[i])], names[int(predicted[i])], float(probability[i]), float(of_true[i]))
        for i in order[:limit]
    ]


def typical_example(evaluation: Evaluation) -> int:
    """A sample to look through the network with: classified right, with the median confidence; else the first."""
    probability, predicted = evaluation.probabilities.max(dim=1)
    right = (predicted == evaluation.labels).nonzero().squeeze(1)
    if len(right) == 0:
        return 0
    order = torch.argsort(probability[right], stable=True)
    return int(right[order[len(order) // 2]])


def flatten(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested tables as (dotted name, value as text), for the recipe and the environment."""
    rows: list[tuple[str, str]] = []
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += flatten(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value, start=1):
                rows += (
                    flatten(item, f"{name}.{index}.") if isinstance(item, Mapping) else [(f"{name}.{index}", str(item))]
                )
        elif value is not None:
            rows.append((name, as_text(value)))
    return rows


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(as_text(item) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def percent(fraction: float | None, digits: int = 2) -> str:
    """0.0095 -> "0.95%"; None and NaN -> "-"."""
    return "-" if fraction is None or math.isnan(fraction) else f"{100 * fraction:.{digits}f}%"


def probability(value: float) -> str:
    """0.987 -> "98.7%", and ">99.9%" above that: a saturated softmax is no certainty."""
    return f"{100 * value:.1f}%" if value <= 0.999 else ">99.9%"


def plural(count: int, one: str, many: str) -> str:
    """1, "epoch", "epochs" -> "1 epoch"."""
    return f"{count:,} {one if count == 1 else many}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
