"""Planar affine distortions of small images. The contract of all augmentations is in `augment`."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AffineDistortion:
    """The planar affine distortions of LeCun et al. 1998, section III.A, around the image's centre.

    "Horizontal and vertical translations, scaling, squeezing (simultaneous horizontal compression and vertical
    elongation, or the reverse), and horizontal shearing." The paper gives no ranges; these are ours.

    Args:
        translation_px: largest shift along each axis, in pixels of the input, uniform.
        scale: smallest and largest factor for both axes, log-uniform.
        squeeze: smallest and largest factor of the width, whose inverse is that of the height, log-uniform.
        shear: largest horizontal shift for each pixel of height, uniform.
        originals: the fraction of samples that stays as it is (the paper: 60,000 beside 540,000 distorted, so 0.1).
        background: the value outside the image, 0..255.

    The result is float32 in 0..255: rounding would only cost precision.
    """

    translation_px: float = 2.0
    scale: tuple[float, float] = (0.9, 1.1)
    squeeze: tuple[float, float] = (0.9, 1.1)
    shear: float = 0.2
    originals: float = 0.0
    background: float = 0.0
    draws: ClassVar[int] = 6
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        floats = images.float() if self.background == 0 else images.float() - self.background
        grid = self._grid(u.to(torch.float32), (images.shape[2], images.shape[3])).to(images.device)
        moved = F.grid_sample(floats, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return moved if self.background == 0 else moved + self.background

    def _grid(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        """Where each output pixel reads, in grid_sample's units of half the image: (B, 6) -> (B, H, W, 2)"""
        H, W = size
        kept = u[:, 5] < self.originals
        shift = (2 * u[:, :2] - 1) * self.translation_px  # (B, 2): down, right
        scale, squeeze = _log_uniform(u[:, 2], self.scale), _log_uniform(u[:, 3], self.squeeze)
        shear = (2 * u[:, 4] - 1) * self.shear
        # forward, centred: x' = scale squeeze (x + shear y) + right,  y' = scale / squeeze y + down; here its inverse
        x_from = torch.where(kept, 1.0, 1 / (scale * squeeze))
        y_from = torch.where(kept, 1.0, squeeze / scale)
        shift, shear = shift * ~kept[:, None], shear * ~kept
        y = torch.arange(H, dtype=u.dtype) - (H - 1) / 2
        x = torch.arange(W, dtype=u.dtype) - (W - 1) / 2
        source_y = (y - shift[:, :1]) * y_from[:, None]  # (B, H)
        source_x = ((x - shift[:, 1:]) * x_from[:, None])[:, None, :] - (shear[:, None] * source_y)[:, :, None]
        grid = torch.empty(len(u), H, W, 2)
        torch.mul(source_x, 2 / W, out=grid[..., 0])
        grid[..., 1] = (source_y * (2 / H))[:, :, None]
        return grid


def _log_uniform(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return torch.exp(low + u * (high - low))
