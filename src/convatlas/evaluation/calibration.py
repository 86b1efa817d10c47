"""Whether a classifier is right as often as it is sure: the reliability diagram and the error that sums it up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Samples in B bins of equal width by the probability of the predicted class; NaN where a bin is empty."""

    edges: Array  # (B + 1,) from 0 to 1
    counts: NDArray[np.int64]  # (B,)
    confidences: Array  # (B,) mean probability of the predicted class
    accuracies: Array  # (B,) fraction that is right

    @property
    def error(self) -> float:
        """The expected calibration error: |accuracy - confidence|, averaged over the samples; NaN without any.

        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
        """
        return self._mean(np.abs(self.accuracies - self.confidences))

    @property
    def mean_confidence(self) -> float:
        return self._mean(self.confidences)

    @property
    def accuracy(self) -> float:
        return self._mean(self.accuracies)

    def _mean(self, values: Array) -> float:
        total = self.counts.sum()
        return float(np.nansum(values * self.counts) / total) if total else float("nan")


def calibration(probabilities: Tensor, labels: Tensor, *, bins: int = BINS) -> Calibration:
    """How often a classifier was right, by how sure it was.

    Args:
        probabilities: (N, K) float
        labels: (N,) int64
        bins: of equal width; a bin holds its upper edge.

    Example:
        >>> import torch
        >>> calibration(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, 1])).error
        0.300000011920929
    """
    confidence, predicted = probabilities.max(dim=1)
    sure = confidence.double().numpy()
    right = (predicted == labels).double().numpy()
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(places, weights=values, minlength=bins) / counts for values in (sure, right)]
    return Calibration(edges, counts, *means)
