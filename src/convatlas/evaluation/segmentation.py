"""How well masks of classes fit the truth, from how often each class was taken for each.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 5. With n_ij the
pixels of class i that were taken for class j and t_i = sum_j n_ij:

    pixel accuracy             sum_i n_ii / sum_i t_i
    mean accuracy              mean over i of n_ii / t_i
    mean IoU                    mean over i of n_ii / (t_i + sum_j n_ji - n_ii)
    frequency-weighted IU      sum_i t_i IU_i / sum_i t_i

The counts are summed over all images before anything is divided, as the VOC devkit does. A class that occurs neither
in the truth nor in the prediction has no IU: it is NaN and left out of the mean. One that is predicted and never true
has an IU of 0, which counts, and no accuracy, which does not.

Shapes  B images, K classes, H x W mask, h x w prediction.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.records import VOID, Problem, SegmentationEvaluation


class Overlaps(NamedTuple):
    """One value a class, (K,) float64, NaN where it is undefined."""

    iu: Tensor  # intersection over union; undefined for a class that is neither true nor predicted anywhere
    accuracy: Tensor  # right among the class's pixels; undefined without any
    share: Tensor  # of all pixels that are not void


class Scores(NamedTuple):
    """Fractions in [0, 1], NaN where no pixel was counted."""

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    frequency_weighted_iu: float


class ConfusionMeter:
    """Counts, batch by batch, how often each class was taken for each."""

    def __init__(self, num_classes: int, *, void: int = VOID) -> None:
        self.num_classes = num_classes
        self.void = void
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)  # rows are true classes

    def add(self, predicted: Tensor, masks: Tensor) -> Tensor:
        """Counts a batch and returns each image's own counts: (B, h, w), (B, H, W) -> (B, K, K) int64 on the CPU.

        Raises:
            UsageError: as `image_confusions`.
        """
        counts = image_confusions(predicted, masks, self.num_classes, void=self.void).cpu()
        self.confusion += counts.sum(0)
        return counts


def image_confusions(predicted: Tensor, masks: Tensor, num_classes: int, *, void: int = VOID) -> Tensor:
    """Each image's confusion matrix: (B, h, w) and (B, H, W) of any integer type -> (B, K, K) int64, rows true.

    Void pixels of the masks are left out. Larger masks are cropped around their centre (`centre_crop`).

    Raises:
        UsageError: the shapes don't belong together, or a class is not in 0..K-1.
    """
    if predicted.ndim != 3 or masks.ndim != 3 or len(predicted) != len(masks):
        raise UsageError(
            f"predicted is {tuple(predicted.shape)} and masks are {tuple(masks.shape)}; "
            "expected (B, h, w) and (B, H, W)"
        )
    for name, values in (("predicted", predicted), ("masks", masks)):
        if values.is_floating_point():
            raise UsageError(f"{name} is {values.dtype}; expected whole numbers, one class a pixel")
    true = centre_crop(masks, (predicted.shape[1], predicted.shape[2])).long()
    counted = true != void
    image = torch.arange(len(true), device=true.device)[:, None, None].expand_as(true)[counted]
    labels, found = true[counted], predicted[counted].long()
    for subject, values in (("the prediction has", found), ("the masks have", labels)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < num_classes:
            raise UsageError(
                f"{subject} classes {int(values.min())} to {int(values.max())}; "
                f"expected 0 to {num_classes - 1}, or {void} for void in a mask"
            )
    cells = (image * num_classes + labels) * num_classes + found
    return torch.bincount(cells, minlength=len(true) * num_classes**2).view(-1, num_classes, num_classes)


def centre_crop(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of each mask, for networks that predict less than they see: (..., H, W) -> (..., h, w)

    Where the margin is odd, the smaller half is above and to the left.

    Raises:
        UsageError: `size` is larger than the masks.
    """
    down, right = masks.shape[-2] - size[0], masks.shape[-1] - size[1]
    if down < 0 or right < 0:
        raise UsageError(f"the prediction is {size[0]} x {size[1]}, larger than its mask, {tuple(masks.shape[-2:])}")
    return masks[..., down // 2 : down // 2 + size[0], right // 2 : right // 2 + size[1]]


def overlaps(confusion: Tensor) -> Overlaps:
    """IU, accuracy and share of each class from a confusion matrix (..., K, K), rows true: (..., K) each."""
    counts = confusion.double()
    right = counts.diagonal(dim1=-2, dim2=-1)
    true, predicted = counts.sum(-1), counts.sum(-2)  # 0 / 0 is NaN, as wanted
    return Overlaps(right / (true + predicted - right), right / true, true / true.sum(-1, keepdim=True))


def scores(confusion: Tensor) -> Scores:
    """The four numbers of Long et al. from a confusion matrix (K, K), rows true."""
    of_class = overlaps(confusion)
    total = int(confusion.sum())
    if total == 0:
        return Scores(*(math.nan,) * 4)
    return Scores(
        pixel_accuracy=int(confusion.diagonal().sum()) / total,
        mean_accuracy=float(of_class.accuracy.nanmean()),
        mean_iu=float(of_class.iu.nanmean()),
        frequency_weighted_iu=float((of_class.share * of_class.iu).nansum()),
    )


def summarise(
    confusion: Tensor,
    loss: float,
    classes: Sequence[str],
    seconds: float,
    problems: Sequence[Problem] = (),
    protocol: str = "whole image",
) -> SegmentationEvaluation:
    """All the numbers of a confusion matrix (K, K), rows true.

    Raises:
        UsageError: there is not one name a class.
    """
    if confusion.shape != (len(classes), len(classes)):
        raise UsageError(f"the confusion matrix is {tuple(confusion.shape)}; expected {len(classes)} classes each way")
    return SegmentationEvaluation(
        classes=tuple(classes),
        confusion=confusion,
        loss=loss,
        **scores(confusion)._asdict(),
        seconds=seconds,
        problems=tuple(problems),
        protocol=protocol,
    )
