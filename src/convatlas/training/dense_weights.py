"""Class weights of a segmenter's loss, counted over the training masks."""

from collections.abc import Iterator

import torch
from torch import Tensor

from convatlas.data.segmentation.class_weights import count_classes, inverse_log, median_frequency
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.errors import ConvatlasError, UsageError
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.recipe import Recipe


def mask_class_weights(recipe: Recipe, split: MaskSplit, num_classes: int) -> Tensor | None:
    """(K,) factors of the pixels' losses; None: all alike.

    Raises:
        UsageError: another number of weights than classes, or a loss that takes none.
    """
    chosen = recipe.class_weights
    if chosen is None:
        return None
    if not isinstance(recipe.loss, PixelCrossEntropy):
        raise UsageError(f"class_weights need the loss PixelCrossEntropy; the recipe has {type(recipe.loss).__name__}")
    if isinstance(chosen, tuple):
        if len(chosen) != num_classes:
            raise UsageError(f"class_weights has {len(chosen)} entries; expected {num_classes}, one a class")
        return torch.tensor(chosen)
    counts = count_classes(_masks(split), num_classes)
    if chosen == "median_frequency":
        return median_frequency(counts)
    if chosen == "inverse_log":
        return inverse_log(counts)
    weights = 1 / counts.pixels.clamp_min(1).float()
    return weights * counts.pixels.sum() / (weights * counts.pixels).sum()


def _masks(split: MaskSplit) -> Iterator[Tensor]:
    for path in split.masks:
        try:
            yield split.classes.decode(path)
        except ConvatlasError:
            continue  # the loader will name it
