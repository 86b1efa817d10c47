"""Changes of light and colour. The contract of all augmentations is in `augment`; the operations are torchvision's."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from convatlas.data.splits import Split
from convatlas.errors import ConvatlasError, UsageError

_ORDERS = tuple(itertools.permutations(range(4)))
_SMALLEST = 2.0**-54  # below every draw but 0, whose normal deviate would be infinite
_Axes = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class PCANoise:
    """Adds multiples of the principal components of the pixels' colours, the same for all pixels of an image.

    Krizhevsky et al. 2012, section 4.1: [p1 p2 p3] [a1 l1, a2 l2, a3 l3] with a ~ N(0, 0.1), drawn once an image; p
    and l are eigenvectors and eigenvalues of the covariance of red, green and blue. An eigenvalue has the unit of a
    squared pixel: the published ones, and so the formula, are for pixels in [0, 1]. Here the sum is brought to 0..255.

    Args:
        sigma: standard deviation of a.
        eigenvalues: l, for pixels in [0, 1]. ImageNet's, as the releases have them; `PCANoise.of(split)` measures those
            of other images.
        components: p1, p2, p3, each as (red, green, blue).

    The result is float32 and may leave 0..255, as in the paper's float arithmetic.
    """

    sigma: float = 0.1
    eigenvalues: tuple[float, float, float] = (0.2175, 0.0188, 0.0045)
    components: _Axes = ((-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203))
    draws: ClassVar[int] = 3
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        if images.shape[1] != 3:
            raise UsageError(f"PCANoise got images with {images.shape[1]} channels; expected 3, red, green and blue")
        normal = torch.special.ndtri(u.double().clamp_min(_SMALLEST)) * self.sigma
        shift = torch.zeros(len(u), 3, dtype=torch.float64)
        for i, (eigenvalue, component) in enumerate(zip(self.eigenvalues, self.components, strict=True)):
            shift += normal[:, i : i + 1] * torch.tensor(component, dtype=torch.float64) * (255 * eigenvalue)
        return images.float() + shift.float()[:, :, None, None].to(images.device)

    @classmethod
    def of(cls, split: Split, *, sigma: float = 0.1, images: int = 1000) -> "PCANoise":
        """With the components of these images' own colours, of all pixels of up to `images` evenly spaced ones.

        Raises:
            ConvatlasError: fewer than two colour pixels in all.
        """
        count, total, products = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        for index in range(0, len(split), max(1, len(split) // images)):
            try:
                image = split.read(index)
            except ConvatlasError:
                continue  # the loader will name it
            if len(image) == 3:
                colours = image.flatten(1).double() / 255
                count += colours.shape[1]
                total += colours.sum(1)
                products += colours @ colours.T
        if count < 2:
            raise ConvatlasError("PCANoise.of found no colour images that can be read; expected at least one")
        mean = total / count
        eigenvalues, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
        components = tuple(tuple(component) for component in vectors.T.flip(0).tolist())
        return cls(sigma, tuple(eigenvalues.flip(0).tolist()), components)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue by random amounts, in random order.

    Howard 2013, section 2.2: the first three by a factor between 0.5 and 1.5, which is the default. The released
    Inception pipeline: brightness 32/255, contrast and saturation 0.5, hue 0.2. Each is torchvision's operation.

    Args:
        brightness: largest change of the factor around 1; the same for `contrast` and `saturation`.
        hue: largest part of the colour circle, either way.
    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.0
    draws: ClassVar[int] = 5  # the order, then the amounts
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return _one_by_one(self._jitter, images, u)

    def _jitter(self, image: Tensor, u: list[float]) -> Tensor:
        from torchvision.transforms.v2 import functional as V

        changes = (V.adjust_brightness, V.adjust_contrast, V.adjust_saturation, V.adjust_hue)
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        for i in _ORDERS[int(u[0] * len(_ORDERS))]:
            amount = (2 * u[1 + i] - 1) * strengths[i]
            if strengths[i]:
                image = changes[i](image, amount if changes[i] is V.adjust_hue else 1 + amount)
        return image


@dataclass(frozen=True)
class PhotometricDistortion:
    """Torchvision's `RandomPhotometricDistort`: brightness, contrast, saturation, hue, order of channels.

    Each happens with probability one half, contrast before or after saturation and hue. It is built after SSD (Liu et
    al. 2016), whose release has other operations: `data.detection.distort.SSDPhotometric`.
    """

    brightness: tuple[float, float] = (0.875, 1.125)
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: tuple[float, float] = (-0.05, 0.05)
    probability: float = 0.5
    draws: ClassVar[int] = 11  # whether and how much of each of four; contrast first; whether and how to permute
    crop_size: ClassVar[None] = None
    native: ClassVar[bool] = False

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return _one_by_one(self._distort, images, u)

    def _distort(self, image: Tensor, u: list[float]) -> Tensor:
        from torchvision.transforms.v2 import functional as V

        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        amounts = [low + u[4 + i] * (high - low) for i, (low, high) in enumerate(ranges)]
        happens = [u[i] < self.probability for i in range(4)]
        contrast_first = u[8] < 0.5
        if happens[0]:
            image = V.adjust_brightness(image, amounts[0])
        if happens[1] and contrast_first:
            image = V.adjust_contrast(image, amounts[1])
        if happens[2]:
            image = V.adjust_saturation(image, amounts[2])
        if happens[3]:
            image = V.adjust_hue(image, amounts[3])
        if happens[1] and not contrast_first:
            image = V.adjust_contrast(image, amounts[1])
        if u[9] < self.probability and len(image) == 3:
            orders = tuple(itertools.permutations(range(3)))
            image = V.permute_channels(image, list(orders[int(u[10] * len(orders))]))
        return image


def _one_by_one(change: Callable[[Tensor, list[float]], Tensor], images: Tensor, u: Tensor) -> Tensor:
    """torchvision's operations take one amount a call, and floats in [0, 1]."""
    if images.dtype == torch.uint8:
        return torch.stack([change(image, row) for image, row in zip(images, u.tolist(), strict=True)])
    return torch.stack([change(image / 255, row) * 255 for image, row in zip(images, u.tolist(), strict=True)])
