"""Augmentations as functions of a batch and its random numbers; none draws any by itself.

Each is a frozen dataclass with `draws`, the uniform numbers in [0, 1) that it needs for each sample, and is called with
images (B, C, H, W), uint8 or float in 0..255, and u (B, draws). A sample's result depends on its own row only, so
that a batch in memory and single pictures in worker processes give the same values.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.elastic import ElasticDistortion
from convatlas.structures import UsageError


def _windows(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """One window of each picture, as one gather: (B, C, H, W), (B,), (B,) -> (B, C, height, width)"""
    B, C, H, W = images.shape
    device = images.device
    rows = top.to(device)[:, None] + torch.arange(height, device=device)  # (B, h)
    columns = left.to(device)[:, None] + torch.arange(width, device=device)  # (B, w)
    places = (rows * W)[:, :, None] + columns[:, None, :]  # (B, h, w)
    index = places.view(B, 1, height * width).expand(B, C, height * width)
    return images.reshape(B, C, H * W).gather(2, index).view(B, C, height, width)


def _integers(u: Tensor, n: int | Tensor) -> Tensor:
    """Uniform in 0..n-1 from uniform in [0, 1)."""
    return (u * n).to(torch.int64)


@dataclass(frozen=True)
class PadCrop:
    """Pads each side, then cuts a window of the old size anywhere: the CIFAR crop of He et al. 2016, section 4.2."""

    padding: int = 4
    fill: int = 0
    draws: ClassVar[int] = 2
    crop_size: ClassVar[None] = None

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        p = self.padding
        offsets = _integers(u, 2 * p + 1)
        return _windows(F.pad(images, (p, p, p, p), value=self.fill), offsets[:, 0], offsets[:, 1], *images.shape[2:])


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors left and right with the given probability."""

    probability: float = 0.5
    draws: ClassVar[int] = 1
    crop_size: ClassVar[None] = None

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        mirrored = (u[:, 0] < self.probability).to(images.device)
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)


@dataclass(frozen=True)
class RandomCrop:
    """Cuts a window of `size` (h, w) anywhere; the pictures are at least as large (AlexNet: 224 or 227 of 256)."""

    size: tuple[int, int]
    draws: ClassVar[int] = 2

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.size

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        (H, W), (height, width) = images.shape[2:], self.size
        if height > H or width > W:
            raise UsageError(f"a random crop of {height} x {width} does not fit into pictures of {H} x {W} pixels")
        top, left = _integers(u[:, 0], H - height + 1), _integers(u[:, 1], W - width + 1)
        if len(images) == 1:
            return images[:, :, int(top) : int(top) + height, int(left) : int(left) + width]
        return _windows(images, top, left, height, width)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cuts a window of random area and aspect and scales it to `size` (h, w), bilinear with antialiasing.

    Szegedy et al. 2015, section 6: 8% to 100% of the area, aspect 3/4 to 4/3 (log-uniform). The first of ten windows
    that fits is taken; if none does, the largest centred one of an allowed aspect.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    draws: ClassVar[int] = 22  # area and aspect of ten attempts, then the place

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.size

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        H, W = images.shape[2:]
        crops = []
        for image, row in zip(images, u.tolist(), strict=True):
            top, left, height, width = self.window((H, W), row)
            window = image[None, :, top : top + height, left : left + width]
            if window.dtype == torch.uint8 and window.device.type != "cpu":
                window = window.float()  # only the CPU resizes uint8
            crops.append(F.interpolate(window, self.size, mode="bilinear", antialias=True))
        return torch.cat(crops)

    def window(self, picture: tuple[int, int], u: list[float]) -> tuple[int, int, int, int]:
        """(top, left, height, width) for a picture of (H, W) and its 22 draws."""
        H, W = picture
        log_low, log_high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for attempt in range(10):
            area = H * W * (self.scale[0] + u[2 * attempt] * (self.scale[1] - self.scale[0]))
            aspect = math.exp(log_low + u[2 * attempt + 1] * (log_high - log_low))
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < width <= W and 0 < height <= H:
                return int(u[20] * (H - height + 1)), int(u[21] * (W - width + 1)), height, width
        height = min(H, max(1, round(W / self.ratio[0])))
        width = min(W, max(1, round(H * self.ratio[1])))
        return (H - height) // 2, (W - width) // 2, height, width


@dataclass(frozen=True)
class AffineDistortion:
    """The planar affine distortions of LeCun et al. 1998, section III.A, around the picture's centre.

    "Horizontal and vertical translations, scaling, squeezing (simultaneous horizontal compression and vertical
    elongation, or the reverse), and horizontal shearing." The paper gives no ranges; these are ours.

    Args:
        translation_px: largest shift along each axis, in pixels of the input, uniform.
        scale: smallest and largest factor for both axes, log-uniform.
        squeeze: smallest and largest factor of the width, whose inverse is that of the height, log-uniform.
        shear: largest horizontal shift for each pixel of height, uniform.
        originals: the fraction of samples that stays as it is (the paper: 60,000 beside 540,000 distorted, so 0.1).
        background: the value outside the picture, 0..255.

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

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        floats = images.float() if self.background == 0 else images.float() - self.background
        grid = self._grid(u.to(torch.float32), (images.shape[2], images.shape[3])).to(images.device)
        moved = F.grid_sample(floats, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return moved if self.background == 0 else moved + self.background

    def _grid(self, u: Tensor, size: tuple[int, int]) -> Tensor:
        """Where each output pixel reads, in grid_sample's units of half the picture: (B, 6) -> (B, H, W, 2)"""
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


Augmentation = PadCrop | HorizontalFlip | RandomCrop | RandomResizedCrop | AffineDistortion | ElasticDistortion
"""Each has `draws`, and `crop_size`: (h, w) where the result has its own size whatever the input's, else None."""
