"""Elastic deformation: every pixel moves its own way, and neighbours nearly alike."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

_NOISE_BITS, _WEIGHT_BITS = 15, 14
_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class ElasticDistortion:
    """Elastic deformation, with rotation, scaling and translation around the centre, in one resampling.

    Simard, Steinkraus and Platt 2003, section 2: a displacement of each pixel along each axis, uniform in +-1, is
    smoothed by a Gaussian and multiplied by alpha. Ciresan et al. 2010 and 2012 combine it with the others.

    Args:
        sigma_px: standard deviation of the Gaussian (Simard 4; Ciresan 5 to 6), on images of 29 x 29.
        alpha_px: strength (Simard 34; Ciresan 36 to 38). The displacements' own deviation is 0.16 alpha / sigma.
        rotation_degrees: largest angle either way, uniform.
        scaling: largest part by which width and height grow or shrink, each by itself, uniform.
        translation: largest shift along each axis, in parts of the image's side, uniform.
        background: the value outside the image, 0..255.

    The result is float32 in 0..255: rounding would only cost precision.
    """

    sigma_px: float = 6.0
    alpha_px: float = 36.0
    rotation_degrees: float = 0.0
    scaling: float = 0.0
    translation: float = 0.0
    background: float = 0.0
    draws: ClassVar[int] = 7  # two seed the field; angle, two scales, two shifts
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        floats = images.float() if self.background == 0 else images.float() - self.background
        grid = self._grid(u, (images.shape[2], images.shape[3])).to(images.device)
        moved = F.grid_sample(floats, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return moved if self.background == 0 else moved + self.background

    def displacements(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        """The elastic field in pixels, down and right: (B, 2 or more), (H, W) -> (B, 2, H, W) float32"""
        H, W = size
        field = _noise(u[:, :2], H * W).view(len(u), 2, H, W)
        smooth = _gaussian(H, self.sigma_px) @ field @ _gaussian(W, self.sigma_px)
        return smooth.float() * (self.alpha_px * 2.0 ** -(_NOISE_BITS + 2 * _WEIGHT_BITS))

    def _grid(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        """Where each output pixel reads, in grid_sample's units of half the image: (B, 7) -> (B, H, W, 2) float32"""
        H, W = size
        down, right = self.displacements(u, size).unbind(dim=1)  # (B, H, W)
        signed = (2 * u[:, 2:] - 1).float()[:, :, None, None]  # (B, 5, 1, 1)
        angle = signed[:, 0] * math.radians(self.rotation_degrees)
        y = (torch.arange(H) - (H - 1) / 2)[:, None] - signed[:, 3] * self.translation * H
        x = (torch.arange(W) - (W - 1) / 2) - signed[:, 4] * self.translation * W
        source_y = (y * angle.cos() - x * angle.sin()) / (1 + signed[:, 1] * self.scaling) + down
        source_x = (y * angle.sin() + x * angle.cos()) / (1 + signed[:, 2] * self.scaling) + right
        return torch.stack((source_x * (2 / W), source_y * (2 / H)), dim=3)


def _noise(seeds: Tensor, count: int) -> Tensor:
    """Whole numbers, uniform in +-2^15, as float64: (B, 2) uniforms -> (B, 2, count)

    A counter goes twice through a 32-bit mixing function, with the sample's seeds added on the way; each half of the
    result is one number. A generator from torch would have to be seeded sample by sample.
    """
    first, second = (seeds.double() * 2**32).to(torch.int64)[:, :, None].unbind(dim=1)  # (B, 1)
    bits = _mixed(_mixed(torch.arange(count) + first) ^ second)
    halves = torch.stack((bits >> 16, bits & 0xFFFF), dim=1)
    return halves.double() - 2**_NOISE_BITS


def _mixed(x: Tensor) -> Tensor:
    """A bijection of 32-bit numbers in which every bit of the result depends on every bit of x; held in int64.

    Its shifts and odd factors are those of C. Wellons, "Prospecting for Hash Functions", 2018 (public domain).
    """
    x = x & _LOW
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _LOW
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _LOW
    return x ^ (x >> 16)


@lru_cache(maxsize=16)
def _gaussian(extent: int, sigma: float) -> Tensor:
    """The smoothing of one axis as a matrix of whole numbers, in units of 2^-14; outside the image nothing moves.

    Noise and weights are whole numbers so small that every sum of their products is exact in float64. The field
    therefore has the same bits whatever the order of summation: on any machine, for one sample or a batch.
    """
    reach = max(1, round(4 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / sigma) ** 2)
    offsets = torch.arange(extent)[:, None] - torch.arange(extent)
    weights = (kernel / kernel.sum() * 2**_WEIGHT_BITS).round()
    inside = offsets.abs() <= reach
    return torch.where(inside, weights[(offsets + reach).clamp(0, 2 * reach)], 0.0)
