"""A pyramid of maps that all know of the whole image, and regions pooled from the level of their size.

Lin, Dollár, Girshick, He, Hariharan, Belongie, "Feature Pyramid Networks for Object Detection", CVPR 2017,
arXiv:1612.03144, and He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, section 3 (RoIAlign).

Shapes   B batch, C channels, D channels of the pyramid, h x w map of a level, R regions of all images, N of one.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.init import initialise
from convatlas.lazy import Lazy

ops = Lazy("torchvision.ops")

FIRST, LAST = 2, 5  # levels, whose strides are 4 to 32
CANONICAL_LEVEL, CANONICAL_SIDE = 4, 224  # a region of 224 x 224 pixels is pooled from level 4


class FeaturePyramid(nn.Module):
    """Levels 2 to 5 of a residual network's stages, and every second position of the last as level 6.

    Four maps (B, C_l, h, w) -> five maps (B, D, h, w), the finest first. Layers are named by their level.
    """

    def __init__(self, widths: Sequence[int], width: int = 256) -> None:
        super().__init__()
        for level, channels in enumerate(widths, start=FIRST):
            self.add_module(f"lateral{level}", nn.Conv2d(channels, width, 1))
            self.add_module(f"output{level}", nn.Conv2d(width, width, 3, padding=1))
        self.pool6 = nn.MaxPool2d(1, stride=2)
        initialise(self, partial(nn.init.kaiming_uniform_, a=1))

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        levels: list[Tensor] = []
        above: Tensor | None = None
        for level in range(LAST, FIRST - 1, -1):
            merged = self.get_submodule(f"lateral{level}")(stages[level - FIRST])
            if above is not None:
                merged = merged + F.interpolate(above, merged.shape[2:], mode="nearest")
            levels.insert(0, self.get_submodule(f"output{level}")(merged))
            above = merged
        return [*levels, self.pool6(levels[-1])]


class RoIAlign(nn.Module):
    """The mean of four bilinear samples in each of n x n bins.  (B, C, h, w), B times (N, 4) -> (R, C, n, n)

    No coordinate is rounded. A sample at pixel x of the image reads the map at x / stride, as in the release.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, features: Tensor, boxes: list[Tensor], stride: int) -> Tensor:
        return ops.roi_align(features, boxes, self.bins, 1 / stride, sampling_ratio=2)


def level_of(boxes: Tensor) -> Tensor:
    """Equation 1: a region half as large is pooled one level lower.  (N, 4) -> (N,) int64, 2 to 5"""
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=0).sqrt()
    return (CANONICAL_LEVEL + (sides / CANONICAL_SIDE + 1e-8).log2()).floor().clamp(FIRST, LAST).long()


def level_of_image(size: tuple[int, int]) -> int:
    """The same of one region, the whole image of H x W pixels, without looking at a tensor."""
    level = math.floor(CANONICAL_LEVEL + math.log2(math.sqrt(math.prod(size)) / CANONICAL_SIDE + 1e-8))
    return min(max(level, FIRST), LAST)


def align_on_levels(pool: RoIAlign, levels: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
    """Each region pooled from its own level.  Levels from 2 on, B times (N, 4) -> (R, D, n, n)"""
    own = [level_of(each) for each in boxes]
    order = torch.cat(own)
    pooled = levels[0].new_zeros(len(order), levels[0].shape[1], pool.bins, pool.bins)
    for level, features in enumerate(levels[: LAST - FIRST + 1], start=FIRST):
        chosen = [each[mine == level] for each, mine in zip(boxes, own, strict=True)]
        if any(len(each) for each in chosen):
            pooled[order == level] = pool(features, chosen, 2**level)
    return pooled
