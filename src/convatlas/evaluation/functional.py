"""Pure functions from scores and labels to the numbers that papers print. K classes, N samples."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_Z_95 = 1.959963984540054  # the normal quantile of a two-sided 95% interval


def top_k_error(scores: Tensor, labels: Tensor, k: int) -> float:
    """The fraction of samples whose class is not among the k largest scores: (N, K) float, (N,) int64 -> [0, 1]

    Of equal scores the class with the smaller index comes first, and NaN counts as larger than any number and never
    as right: a network that has diverged, or that answers the same for all, gets no credit. NaN without samples.

    Raises:
        ValueError: k is below 1, or the shapes don't belong together.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)}; expected (N, K) and (N,)")
    if len(labels) == 0:
        return math.nan
    own = scores.gather(1, labels[:, None])  # (N, 1)
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    ahead = (scores > own) | scores.isnan() | ((scores == own) & earlier)
    wrong = (ahead.sum(1) >= k) | own[:, 0].isnan()
    return wrong.double().mean().item()


def confusion_matrix(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """How often each class was taken for each: (N,) and (N,) int64 -> (K, K) int64, rows are true classes.

    Raises:
        ValueError: lengths differ, or a class is not in 0..K-1.
    """
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise ValueError(f"predicted {tuple(predicted.shape)}, labels {tuple(labels.shape)}; expected both (N,)")
    for name, values in (("predicted", predicted), ("labels", labels)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < num_classes:
            raise ValueError(f"{name} has classes outside 0..{num_classes - 1}")
    cells = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.view(num_classes, num_classes)


class PerClass(NamedTuple):
    """One value a class, (K,) float64, NaN where it is undefined."""

    recall: Tensor  # right among the class's samples; undefined without any
    precision: Tensor  # right among the predictions of the class; undefined without any
    f1: Tensor  # harmonic mean, 2 TP / (2 TP + FP + FN); undefined without either


def per_class(confusion: Tensor) -> PerClass:
    """Recall, precision and F1 of each class from a confusion matrix (K, K), rows true."""
    counts = confusion.double()
    right = counts.diagonal()
    true, predicted = counts.sum(1), counts.sum(0)  # 0 / 0 is NaN, as wanted
    return PerClass(right / true, right / predicted, 2 * right / (true + predicted))


def wilson_interval(errors: int, n: int) -> tuple[float, float]:
    """The 95% interval of an error rate from `errors` of `n` samples, both ends in [0, 1].

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927: unlike the normal
    interval it stays inside [0, 1] and is right for rates near 0.

    Raises:
        ValueError: not 0 <= errors <= n, or n is 0.
    """
    if n < 1 or not 0 <= errors <= n:
        raise ValueError(f"errors is {errors} of {n}; expected 0 to n of at least 1")
    rate, z2 = errors / n, _Z_95**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return (0.0 if errors == 0 else middle - half), (1.0 if errors == n else middle + half)
