"""How well the borders between classes are drawn: boundary F1, and mean IoU in a band around the borders.

Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013; Badrinarayanan,
Kendall, Cipolla, "SegNet", PAMI 2017, section 4 (boundary F1). Kohli, Ladicky, Torr, "Robust Higher Order Potentials
for Enforcing Label Consistency", IJCV 2009; Chen et al., "DeepLab", 2015 (bands around borders).

A class's boundary are its pixels that touch, along an edge, a pixel that is not of the class; the image's own edge is
none. Boundaries towards void count, since in VOC void is what stands between objects.

Shapes  B images, K classes, H x W mask, h x w prediction, W widths.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.evaluation.segmentation import centre_crop, image_confusions, scores
from convatlas.records import VOID

TOLERANCE = 0.0075  # of the image's diagonal
WIDTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40)  # pixels on either side


class BoundaryMeter:
    """Boundary F1 of a data set: each class that occurs in an image's truth, averaged over the image, then over all.

    Args:
        num_classes: K.
        tolerance: how far two boundaries may lie apart, in parts of the image's diagonal.
        void: value of the pixels of a mask that are not counted.
    """

    def __init__(self, num_classes: int, *, tolerance: float = TOLERANCE, void: int = VOID) -> None:
        self.num_classes, self.tolerance, self.void = num_classes, tolerance, void
        self._images: list[Tensor] = []  # (K,) each

    def add(self, predicted: Tensor, masks: Tensor) -> Tensor:
        """(B, h, w), (B, H, W) of whole numbers -> each image's F1 by class, (B, K) float64, NaN as `boundary_f1`."""
        found = torch.stack(
            [
                boundary_f1(one, mask, self.num_classes, tolerance=self.tolerance, void=self.void)
                for one, mask in zip(predicted, masks, strict=True)
            ]
        )
        self._images += found
        return found

    @property
    def of_class(self) -> Tensor:
        """The mean over the images in which a class has a boundary: (K,) float64"""
        return torch.stack(self._images).nanmean(0) if self._images else torch.full((self.num_classes,), math.nan)

    @property
    def mean(self) -> float:
        """The mean over images of the mean over each one's classes."""
        return float(torch.stack(self._images).nanmean(1).nanmean()) if self._images else math.nan


def boundary_f1(
    predicted: Tensor, mask: Tensor, num_classes: int, *, tolerance: float = TOLERANCE, void: int = VOID
) -> Tensor:
    """Each class's boundary F1 in one image: (h, w), (H, W) of whole numbers -> (K,) float64

    Precision is the part of the predicted boundary that has a true one within the tolerance, recall the part of the
    true one that has a predicted one. Predicted boundary pixels on void are not judged. NaN for a class that is not in
    the truth, or that has no boundary in either: one alone fills the image. 0 where only one of them has a boundary.

    Raises:
        UsageError: the prediction is larger than the mask, or the mask has an unknown class.
    """
    true = centre_crop(mask, (predicted.shape[0], predicted.shape[1])).cpu().numpy()
    found = predicted.cpu().numpy()
    reach = tolerance * math.hypot(*true.shape)
    f1 = torch.full((num_classes,), math.nan, dtype=torch.float64)
    for label in np.unique(true):
        if label == void:
            continue
        if not 0 <= label < num_classes:
            raise UsageError(f"the mask has class {label}; expected 0 to {num_classes - 1}, or {void} for void")
        of_truth, of_prediction = boundary(true == label), boundary(found == label)
        judged = of_prediction & (true != void)
        if not of_truth.any() and not judged.any():
            continue
        f1[int(label)] = 0.0
        if of_truth.any() and judged.any():
            precision = (distance_to(of_truth)[judged] <= reach).mean()
            recall = (distance_to(of_prediction)[of_truth] <= reach).mean()
            f1[int(label)] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return f1


class TrimapMeter:
    """Mean IoU among the pixels that lie within some pixels of a border of the truth, for several widths at once.

    A width of 1 counts the two rows of pixels that touch a border, w counts w rows on either side.
    """

    def __init__(self, num_classes: int, *, widths: Sequence[int] = WIDTHS, void: int = VOID) -> None:
        if not widths or list(widths) != sorted(set(widths)) or widths[0] < 1:
            raise UsageError(f"widths are {list(widths)}; expected rising numbers from 1")
        self.num_classes, self.widths, self.void = num_classes, tuple(widths), void
        self.confusions = torch.zeros(len(widths), num_classes, num_classes, dtype=torch.int64)

    def add(self, predicted: Tensor, masks: Tensor) -> None:
        """Counts a batch: (B, h, w), (B, H, W) of whole numbers."""
        for found, mask in zip(predicted.cpu(), masks.cpu(), strict=True):
            distance = torch.from_numpy(distance_to(borders(mask.numpy())))
            bands = [torch.where(distance < width, mask, self.void) for width in self.widths]
            every = found.expand(len(bands), *found.shape)
            self.confusions += image_confusions(every, torch.stack(bands), self.num_classes, void=self.void)

    @property
    def mean_iu(self) -> Tensor:
        """(W,) float64"""
        return torch.tensor([scores(confusion).mean_iu for confusion in self.confusions], dtype=torch.float64)


def boundary(member: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a set that touch, along an edge, one outside it: (H, W) -> (H, W)"""
    return member & borders(member)


def borders(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """The pixels that touch, along an edge, one of another value, on both sides: (H, W) -> (H, W)"""
    differs = np.zeros(mask.shape, dtype=bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    return differs


def distance_to(member: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Each pixel's distance to the nearest of a set, between their centres; infinite where the set is empty."""
    if not member.any():
        return np.full(member.shape, np.inf, dtype=np.float32)
    outside = np.logical_not(member).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32)
