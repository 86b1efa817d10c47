"""What networks return and what images show: outputs in training, ground-truth objects, detections, classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

VOID = 255  # in a mask of classes: a pixel that nobody has to classify


class AuxiliaryOutputs(NamedTuple):
    """What a network with auxiliary heads returns in train mode; in eval mode it returns the logits alone.

    A segmenter's logits are (B, K, h, w), a pose network's heat maps (B, J, h, w).
    """

    logits: Tensor  # (B, K)
    auxiliary: tuple[Tensor, ...]  # (B, K) each, in the order of the heads from the input on


@dataclass(frozen=True)
class Objects:
    """Ground-truth objects of one image, in its pixels: N of them, perhaps none."""

    boxes: Tensor  # (N, 4) float32: x1, y1, x2, y2; pixel edges from 0 to W and 0 to H
    labels: Tensor  # (N,) int64, 0 to K - 1; the background has no number
    difficult: Tensor  # (N,) bool: counted neither as found nor as missed
    masks: Tensor | None = None  # (N, H, W) bool


@dataclass(frozen=True)
class Detections:
    """What a detector has found on one image, in its pixels, the most certain first."""

    boxes: Tensor  # (N, 4) float32, as those of `Objects`
    labels: Tensor  # (N,) int64, 0 to K - 1
    scores: Tensor  # (N,) float32
    masks: Tensor | None = None  # (N, H, W) bool


@dataclass(frozen=True)
class Prediction:
    """The k most probable classes of one image, most probable first."""

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
