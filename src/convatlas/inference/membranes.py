"""A segmenter of cells and membranes, scored as the ISBI 2012 challenge scores: errors at the best threshold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from convatlas.data.segmentation.splits import MaskSplit
from convatlas.errors import UsageError
from convatlas.evaluation import membranes
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.membranes import Best
from convatlas.evaluation.segmenter import Segmenter
from convatlas.inference.trained import TrainedNetwork


@dataclass(frozen=True)
class MembraneScores:
    """Mean errors over the images, each at the threshold that makes it least."""

    images: int
    protocol: str
    pixel: Best
    foreground_rand: Best
    rand: Best
    warping: float  # at the threshold of the pixel error: it takes seconds an image


def score_membranes(
    source: TrainedNetwork,
    split: MaskSplit,
    *,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> MembraneScores:
    """Every image of a split, whole. Class 0 is the membrane, class 1 the cell.

    Raises:
        UsageError: the network tells more or fewer than two classes apart.
        ConvatlasError: an image can't be read.
    """
    if len(source.classes) != 2:
        raise UsageError(f"membranes need two classes, membrane and cell; {source.name} has {len(source.classes)}")
    segmenter = Segmenter(source.net.to(device), source.preprocessing, device)
    probabilities, truths = [], []
    with evaluating(source.net):
        for index in range(len(split)):
            image, mask = split.read_pair(index)
            probabilities.append(segmenter.logits(image).softmax(dim=0)[1].cpu().numpy())
            truths.append(mask.numpy() == 1)
            if on_progress is not None:
                on_progress(index + 1, len(split))
    pixel = membranes.best_over_thresholds(probabilities, truths, membranes.pixel_error)
    warping = [
        membranes.warping_error(found > pixel.threshold, true)
        for found, true in zip(probabilities, truths, strict=True)
    ]
    return MembraneScores(
        len(split),
        segmenter.protocol,
        pixel,
        membranes.best_over_thresholds(probabilities, truths, _of_segments(membranes.foreground_rand_error)),
        membranes.best_over_thresholds(probabilities, truths, _of_segments(membranes.rand_error)),
        float(np.mean(warping)),
    )


def _of_segments(error: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda found, true: error(membranes.segments(found), membranes.segments(true))
