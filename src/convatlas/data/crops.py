"""Crops and mirrors: where in an image the network looks. The contract of all augmentations is in `augment`."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.errors import UsageError


def _windows(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """One window of each image, as one gather: (B, C, H, W), (B,), (B,) -> (B, C, height, width)"""
    B, C, H, W = images.shape
    device = images.device
    rows = top.to(device)[:, None] + torch.arange(height, device=device)  # (B, h)
    columns = left.to(device)[:, None] + torch.arange(width, device=device)  # (B, w)
    places = (rows * W)[:, :, None] + columns[:, None, :]  # (B, h, w)
    index = places.view(B, 1, height * width).expand(B, C, height * width)
    return images.reshape(B, C, H * W).gather(2, index).view(B, C, height, width)


def _window_anywhere(images: Tensor, u: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W), (B, 2) -> (B, C, h, w)"""
    (H, W), (height, width) = images.shape[2:], size
    if height > H or width > W:
        raise UsageError(f"a random crop of {height} x {width} does not fit into images of {H} x {W} pixels")
    top, left = _integers(u[:, 0], H - height + 1), _integers(u[:, 1], W - width + 1)
    if len(images) == 1:
        return images[:, :, int(top) : int(top) + height, int(left) : int(left) + width]
    return _windows(images, top, left, height, width)


def _middle(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, h, w) at most"""
    (H, W), (height, width) = images.shape[2:], size
    top, left = max(0, (H - height) // 2), max(0, (W - width) // 2)
    return images[:, :, top : top + height, left : left + width]


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing. Only the CPU resizes uint8; elsewhere floats are made and stay."""
    if images.dtype == torch.uint8:
        images = images.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else images.float()
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _integers(u: Tensor, n: int | Tensor) -> Tensor:
    """Uniform in 0..n-1 from uniform in [0, 1)."""
    return (u * n).to(torch.int64)


@dataclass(frozen=True)
class PadCrop:
    """Pads each side, then cuts a window of the old size anywhere: the CIFAR crop of He et al. 2016, section 4.2."""

    padding: int = 4
    fill: int | tuple[int, ...] = 0  # grey level; one a channel makes the padding the data's mean colour
    draws: ClassVar[int] = 2
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        offsets = _integers(u, 2 * self.padding + 1)
        return _windows(self._padded(images), offsets[:, 0], offsets[:, 1], *images.shape[2:])

    def _padded(self, images: Tensor) -> Tensor:
        sides = (self.padding,) * 4
        if isinstance(self.fill, int):
            return F.pad(images, sides, value=self.fill)
        if len(self.fill) != images.shape[1]:
            raise UsageError(f"fill has {len(self.fill)} values; expected {images.shape[1]}, one a channel")
        return torch.stack([F.pad(c, sides, value=v) for c, v in zip(images.unbind(1), self.fill, strict=True)], dim=1)


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirrors left and right with the given probability."""

    probability: float = 0.5
    draws: ClassVar[int] = 1
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        if len(images) == 1:
            return images.flip(3) if u[0, 0] < self.probability else images
        mirrored = (u[:, 0] < self.probability).to(images.device)
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)


@dataclass(frozen=True)
class RandomCrop:
    """Cuts a window of `size` (h, w) anywhere; the images are at least as large.

    Krizhevsky et al. 2012, section 4.1, cut 224 x 224 from the middle 256 x 256 and count 32 places an axis: with the
    mirror images 2,048 patches of each image. All 33 places that fit are used here.

    Args:
        within: (h, w) of the middle part to which the window is confined; None takes the whole image.
    """

    size: tuple[int, int]
    within: tuple[int, int] | None = None
    draws: ClassVar[int] = 2
    native: ClassVar[bool] = False

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.size

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        images = images if self.within is None else _middle(images, self.within)
        return _window_anywhere(images, u, self.size)


@dataclass(frozen=True)
class CornerCrop(RandomCrop):
    """Cuts a window of `size` (h, w) from one of five places: the corners and the centre.

    Zeiler and Fergus 2013, section 3: with the mirror images ten sub-crops of each image.
    """

    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        images = images if self.within is None else _middle(images, self.within)
        corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5]], dtype=torch.float64)
        place = corners[_integers(u[:, 0], 5)] * (1 - 1e-9)
        return _window_anywhere(images, place, self.size)


@dataclass(frozen=True)
class ScaleJitter:
    """Scales the short side to a random whole number of pixels, then cuts a window of `size` (h, w) anywhere.

    Simonyan and Zisserman 2015, section 3.1: 256 to 512, uniform, the aspect kept. He et al. 2016, section 3.4: 256
    to 480. Bilinear with antialiasing; the long side is truncated, as torchvision's Resize does.
    """

    size: tuple[int, int]
    short_side: tuple[int, int] = (256, 512)
    draws: ClassVar[int] = 3  # the scale, then the place
    native: ClassVar[bool] = True

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.size

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        low, high = self.short_side
        (H, W), short = images.shape[2:], min(images.shape[2:])
        crops = []
        for image, row in zip(images, u, strict=True):
            side = low + int(row[0] * (high - low + 1))
            scaled = _resized(image[None], (side * H // short, side * W // short))
            crops.append(_window_anywhere(scaled, row[None, 1:], self.size))
        return crops[0] if len(crops) == 1 else torch.cat(crops)


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
    native: ClassVar[bool] = True

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.size

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        H, W = images.shape[2:]
        crops = []
        for image, row in zip(images, u.tolist(), strict=True):
            top, left, height, width = self.window((H, W), row)
            crops.append(_resized(image[None, :, top : top + height, left : left + width], self.size))
        return crops[0] if len(crops) == 1 else torch.cat(crops)

    def window(self, image: tuple[int, int], u: list[float]) -> tuple[int, int, int, int]:
        """(top, left, height, width) for an image of (H, W) and its 22 draws."""
        H, W = image
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
