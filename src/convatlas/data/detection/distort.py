"""SSD's distortions of light and colour, byte for byte as the authors' release makes them with OpenCV.

Source: src/caffe/util/im_transforms.cpp, `ApplyDistort`, of the branch ssd of weiliu89/caffe. Brightness is added,
contrast multiplies, saturation multiplies S and hue is added to H of OpenCV's 8-bit HSV, whose hue has 180 steps.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.records import Objects

Range = tuple[float, float]


@dataclass(frozen=True)
class SSDPhotometric:
    """Brightness, contrast, saturation, hue and the order of channels, as SSD's release distorts them.

    Each happens with `probability`, the amount drawn evenly from its range. Contrast comes before or after saturation
    and hue, equally often. A draw takes eleven numbers: whether each of the four happens, how much, whether contrast
    comes first, and whether and how channels change places.

    Args:
        brightness: added to the values of 0..255.
        contrast: multiplies them.
        saturation: multiplies S.
        hue: added to H, in OpenCV's units of 2 degrees.
        probability: of each of the four.
        reorder: probability that the channels change places; ssd_pascal.py has 0.

    Example:
        >>> still = SSDPhotometric(probability=0.0)
        >>> bright = SSDPhotometric(brightness=(10, 10), contrast=(1, 1), saturation=(1, 1), hue=(0, 0), probability=1)
        >>> grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
        >>> bright.change(grey, [0.0] * 11).flatten().tolist(), still.change(grey, [0.0] * 11).flatten().tolist()
        ([138, 138, 138], [128, 128, 128])
    """

    brightness: Range = (-32.0, 32.0)
    contrast: Range = (0.5, 1.5)
    saturation: Range = (0.5, 1.5)
    hue: Range = (-18.0, 18.0)
    probability: float = 0.5
    reorder: float = 0.0

    def __post_init__(self) -> None:
        ranges = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        for name, (low, high) in (ranges | {"hue": self.hue}).items():
            if low > high or (low < 0 and name in ("contrast", "saturation")):
                raise UsageError(f"{name} is {low}, {high}; expected two numbers in order, and no negative factor")

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        return self.change(image, torch.rand(11, generator=generator, dtype=torch.float64).tolist()), objects

    def change(self, image: Tensor, draws: list[float]) -> Tensor:
        """uint8 (C, H, W), red first, and eleven numbers in [0, 1) -> uint8 (C, H, W)"""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        happens = [draw < self.probability for draw in draws[:4]]
        brightness, contrast, saturation, hue = (
            low + draw * (high - low) for draw, (low, high) in zip(draws[4:8], ranges, strict=True)
        )
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        if happens[0]:
            pixels = _scaled(pixels, 1.0, brightness)
        contrast_first = draws[8] < 0.5
        if happens[1] and contrast_first:
            pixels = _scaled(pixels, contrast, 0.0)
        if happens[2] and pixels.shape[2] == 3:
            pixels = _in_hsv(pixels, 1, saturation, 0.0)
        if happens[3] and pixels.shape[2] == 3:
            pixels = _in_hsv(pixels, 0, 1.0, hue)
        if happens[1] and not contrast_first:
            pixels = _scaled(pixels, contrast, 0.0)
        if draws[9] < self.reorder and pixels.shape[2] == 3:
            orders = list(itertools.permutations(range(3)))
            pixels = pixels[..., list(orders[int(draws[10] * len(orders))])]
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous()


def _scaled(values: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """uint8 -> uint8, as OpenCV's convertTo: in single precision, rounded to even, cut off at 0 and 255."""
    changed = values.astype(np.float32) * np.float32(factor) + np.float32(shift)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _in_hsv(pixels: np.ndarray, channel: int, factor: float, shift: float) -> np.ndarray:
    """One channel of OpenCV's 8-bit HSV, scaled and shifted.  (H, W, 3) red first -> (H, W, 3)"""
    import cv2

    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    hsv[..., channel] = _scaled(hsv[..., channel], factor, shift)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
