"""Spatial pyramid pooling: a description of fixed length from a map of any size.

He, Zhang, Ren, Sun, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition", ECCV 2014.

Shapes   B batch, C channels, H x W map, M bins of all levels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = (6, 3, 2, 1)


class SpatialPyramidPool(nn.Module):
    """The maximum in each of n x n bins, level by level.  (B, C, H, W) -> (B, C M)

    On a map of side a, a bin of section 2.3 is a window of ceil(a / n) at a stride of floor(a / n). Where those windows
    are not n (a = 10 of the 180 px images gives 9 for 6), the bins of the appendix are taken, from floor(i a / n)
    to ceil((i + 1) a / n), which are the same ones elsewhere.
    """

    def __init__(self, levels: tuple[int, ...] = LEVELS) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([_level(x, bins).flatten(1) for bins in self.levels], 1)

    def extra_repr(self) -> str:
        return ", ".join(f"{bins} x {bins}" for bins in self.levels)


def _level(x: Tensor, bins: int) -> Tensor:
    """(B, C, H, W) -> (B, C, bins, bins)"""
    sides = x.shape[2:]
    window, stride = [-(-side // bins) for side in sides], [side // bins for side in sides]
    fits = all(s and (side - w) // s + 1 == bins for side, w, s in zip(sides, window, stride, strict=True))
    return F.max_pool2d(x, window, stride) if fits else F.adaptive_max_pool2d(x, bins)
