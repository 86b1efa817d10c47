"""Joints as heat maps: the target that a pose network is trained towards.

Newell, Yang, Deng, "Stacked Hourglass Networks for Human Pose Estimation", 2016, section 3.1: a 2D Gaussian with a
standard deviation of 1 pixel around the joint, on maps a quarter of the input's size.

Follows  The release's drawing: the Gaussian stands on the pixel that holds the joint, has 1 at its peak, is cut off
         after 3 standard deviations (a window of 7 x 7), and is not drawn where its window misses the map.
Departs  The release calls `image.gaussian(7)`, whose standard deviation is a quarter of its size, 1.75 pixels. We
         keep the paper's 1; `sigma_px=1.75, reach=3` gives the release's.
Shapes   B images, J joints, h x w map. Coordinates are x, y in the input's pixels, edges from 0 to W and 0 to H.
"""

import math

import torch
from torch import Tensor

from convatlas.errors import UsageError


def draw_heatmaps(
    joints: Tensor,
    visible: Tensor,
    size: tuple[int, int],
    *,
    stride: int = 4,
    sigma_px: float = 1.0,
    reach: int | None = None,
) -> Tensor:
    """(B, J, 2) x and y, (B, J) bool -> (B, J, h, w) float32; the map of an unmarked joint is 0.

    Args:
        joints: in the input's pixels; where `visible` is False they may be anything, NaN too.
        visible: which joints somebody has marked.
        size: h, w of the maps.
        stride: input pixels for one of the map.
        sigma_px: standard deviation, in pixels of the map.
        reach: pixels of the map on either side of the peak; by default 3 standard deviations.

    Raises:
        UsageError: the shapes don't belong together.
    """
    if joints.ndim != 3 or joints.shape[2] != 2 or visible.shape != joints.shape[:2]:
        raise UsageError(
            f"joints are {tuple(joints.shape)} and visible is {tuple(visible.shape)}; expected (B, J, 2) and (B, J)"
        )
    reach = math.floor(3 * sigma_px) if reach is None else reach
    peaks = torch.where(visible[..., None], joints, 0).div(stride).floor()  # (B, J, 2)
    across = _bell(peaks[..., 0], size[1], sigma_px, reach)  # (B, J, w)
    down = _bell(peaks[..., 1], size[0], sigma_px, reach)  # (B, J, h)
    return down[..., :, None] * across[..., None, :] * visible[..., None, None]


def _bell(peaks: Tensor, extent: int, sigma: float, reach: int) -> Tensor:
    """(B, J) -> (B, J, extent)"""
    offsets = torch.arange(extent, device=peaks.device) - peaks[..., None]
    return torch.where(offsets.abs() <= reach, torch.exp(-(offsets**2) / (2 * sigma**2)), 0).float()
