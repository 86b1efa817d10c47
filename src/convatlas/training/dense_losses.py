"""Losses of maps: one label a pixel, or one heat map a joint.

Shapes  B images, K classes, J joints, H x W mask, h x w output.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.segmentation.weight_map import weight_map
from convatlas.evaluation.segmentation import centre_crop
from convatlas.records import VOID
from convatlas.training.losses import Reduction


@dataclass(frozen=True)
class PixelCrossEntropy:
    """Cross-entropy of every pixel that is not void: (B, K, h, w) logits, (B, H, W) masks -> scalar

    A larger mask is cropped around its centre. `normalise` takes the mean over the pixels of each image and over the
    images; without it the pixels are summed, as FCN's authors did with learning rates of 1e-10 and less.
    With `class_weights` (K,) each pixel's loss is multiplied by the weight of its class; the divisor stays the number
    of pixels.
    """

    normalise: bool = True

    @property
    def reduction(self) -> Reduction:
        return "mean" if self.normalise else "sum"

    def __call__(self, logits: Tensor, masks: Tensor, class_weights: Tensor | None = None) -> Tensor:
        truth = centre_crop(masks, (logits.shape[2], logits.shape[3]))
        each = F.cross_entropy(logits, truth, weight=class_weights, ignore_index=VOID, reduction="none")
        summed = each.flatten(1).sum(1)
        if not self.normalise:
            return summed.sum()
        return (summed / (truth != VOID).flatten(1).sum(1).clamp_min(1)).mean()


@dataclass(frozen=True)
class BorderCrossEntropy:
    """U-Net's loss: cross-entropy with each pixel weighted by eq. 2 of Ronneberger et al. 2015, mean over the pixels.

    The weight is that of the class, so that all weigh alike in the image, and more, the narrower the gap is that the
    pixel lies in between two objects: w0 exp(-(d1 + d2)^2 / (2 sigma^2)); see `data.segmentation.weight_map`.
    """

    reduction: ClassVar[Reduction] = "mean"

    w0: float = 10.0
    sigma_px: float = 5.0
    cell: int = 1  # the class whose connected parts are the objects

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        truth = centre_crop(masks, (logits.shape[2], logits.shape[3]))
        each = F.cross_entropy(logits, truth, ignore_index=VOID, reduction="none")
        maps = [weight_map(mask, cell=self.cell, w0=self.w0, sigma_px=self.sigma_px) for mask in truth.cpu()]
        return (each * torch.stack(maps).to(each)).flatten(1).mean(1).mean()


def pixel_loss(loss: object) -> PixelCrossEntropy | BorderCrossEntropy:
    """What a segmenter's maps are scored with: the loss that it learns by, or else cross-entropy."""
    return loss if isinstance(loss, PixelCrossEntropy | BorderCrossEntropy) else PixelCrossEntropy()


@dataclass(frozen=True)
class HeatmapSquaredError:
    """Mean squared error of heat maps over all their pixels: (B, J, h, w), (B, J, h, w) -> scalar

    Joints that are not marked have maps of zeros, as in the release of the hourglass; those of NaN are left out.
    """

    reduction: ClassVar[Reduction] = "mean"

    def __call__(self, maps: Tensor, truth: Tensor) -> Tensor:
        known = ~truth.isnan()
        return ((maps - torch.where(known, truth, 0.0)).square() * known).mean()
