"""What each class of a data set of masks counts in the loss, from how many pixels it has.

Shapes  K classes, H x W mask.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.records import VOID


@dataclass(frozen=True)
class ClassCounts:
    """The pixels of a data set's masks, void left out."""

    pixels: Tensor  # (K,) int64, of each class
    beside: Tensor  # (K,) int64, all pixels of the images in which the class occurs


def count_classes(masks: Iterable[Tensor], num_classes: int, *, void: int = VOID) -> ClassCounts:
    """Counts masks one by one: (H, W) of whole numbers, 0 to K - 1 or void.

    Raises:
        UsageError: a class is not in 0..K-1.
    """
    pixels, beside = torch.zeros(2, num_classes, dtype=torch.int64)
    for index, mask in enumerate(masks):
        labels = mask[mask != void].long()
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise UsageError(
                f"mask {index} has classes {int(labels.min())} to {int(labels.max())}; expected 0 to {num_classes - 1}"
            )
        own = torch.bincount(labels, minlength=num_classes).cpu()
        pixels += own
        beside += (own > 0) * own.sum()
    return ClassCounts(pixels, beside)


def median_frequency(counts: ClassCounts) -> Tensor:
    """SegNet's weights, the median of the frequencies over each class's frequency: (K,) float32

    Eigen and Fergus 2015, section 5; Badrinarayanan et al. 2017, section 3.1. A class's frequency is its part of the
    pixels of the images in which it occurs. Among an even number of classes the median is the mean of the middle two.
    A class that never occurs weighs 0 and takes no part in the median. The weights in SegNet's released CamVid network
    are not those of this rule on CamVid's 367 training images: for "sign symbol" it gives 3.8, and they print 9.6.
    """
    seen = counts.pixels > 0
    frequency = counts.pixels[seen].double() / counts.beside[seen]
    weights = torch.zeros(len(counts.pixels), dtype=torch.float64)
    if len(frequency):
        weights[seen] = frequency.quantile(0.5) / frequency
    return weights.float()


def inverse_log(counts: ClassCounts, *, c: float = 1.02) -> Tensor:
    """ENet's weights, 1 / ln(c + p) with p a class's part of all pixels: (K,) float32

    Paszke et al. 2016, section 5.1. With c = 1.02 they lie between 1.4, for a class that is everywhere, and 50.
    """
    return (1 / torch.log(c + counts.pixels.double() / counts.pixels.sum())).float()
