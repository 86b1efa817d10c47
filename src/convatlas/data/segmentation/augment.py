"""Augmentations of an image and its mask together; none draws from anything but the generator that it is given.

Each is a frozen dataclass called with an image, uint8 (C, H, W), a mask, uint8 (H, W), and the sample's generator;
both come back, of one size. Masks are never interpolated. The image's colours may be changed by the augmentations of
`data.colour`, which leave masks as they are.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.colour import ColourJitter, PCANoise, PhotometricDistortion
from convatlas.data.crops import HorizontalFlip
from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.records import VOID

transforms, tv_tensors = Lazy("torchvision.transforms"), Lazy("torchvision.tv_tensors")
V = Lazy("torchvision.transforms.v2.functional")

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class RandomScale:
    """Both grow or shrink by one factor, log-uniform."""

    factors: tuple[float, float] = (0.5, 2.0)

    def __call__(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Pair:
        low, high = (math.log(factor) for factor in self.factors)
        factor = math.exp(low + (high - low) * _uniform(generator))
        size = [max(1, round(side * factor)) for side in mask.shape]
        return V.resize(tv_tensors.Image(image), size, antialias=True), resized_mask(mask, (size[0], size[1]))


@dataclass(frozen=True)
class RandomRotation:
    """Both turn around the centre by an angle of at most `degrees` either way; what comes in from outside is void."""

    degrees: float = 10.0

    def __call__(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Pair:
        angle = (2 * _uniform(generator) - 1) * self.degrees
        turned, marked = _wrapped(image, mask)
        return V.rotate(turned, angle, transforms.InterpolationMode.BILINEAR), V.rotate(marked, angle, fill=[VOID])


@dataclass(frozen=True)
class RandomOrientation:
    """One of the eight ways to lay a square image: for images without up and down, as under a microscope."""

    def __call__(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Pair:
        way = int(8 * _uniform(generator))
        turned = tuple(torch.rot90(part, way % 4, (-2, -1)) for part in (image, mask))
        return tuple(part.flip(-1) if way >= 4 else part for part in turned)  # pyright: ignore


@dataclass(frozen=True)
class GridElastic:
    """The smooth deformation of Ronneberger et al. 2015, section 3.1.

    Displacements on a coarse grid, Gaussian with a deviation of 10 pixels, are interpolated bicubically for each
    pixel. What comes in from outside is mirrored.

    Args:
        grid: points along each axis (the paper: 3).
        sigma_px: deviation of the displacements.
    """

    grid: int = 3
    sigma_px: float = 10.0

    def __call__(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Pair:
        H, W = mask.shape
        coarse = torch.randn(1, 2, self.grid, self.grid, generator=generator) * self.sigma_px
        right, down = F.interpolate(coarse, (H, W), mode="bicubic", align_corners=True)[0]
        y = torch.linspace(-1, 1, H)[:, None] + down * (2 / max(H - 1, 1))
        x = torch.linspace(-1, 1, W) + right * (2 / max(W - 1, 1))
        places = torch.stack((x, y), dim=2)[None]
        read = {"padding_mode": "reflection", "align_corners": True}
        moved = F.grid_sample(image[None].float(), places, mode="bilinear", **read)[0]
        marked = F.grid_sample(mask[None, None].float(), places, mode="nearest", **read)[0, 0]
        return moved.round().clamp(0, 255).to(torch.uint8), marked.to(torch.uint8)


JointAugmentation = RandomScale | RandomRotation | RandomOrientation | GridElastic
MaskAugmentation = JointAugmentation | HorizontalFlip | PCANoise | ColourJitter | PhotometricDistortion
MASK_AUGMENTATIONS = "HorizontalFlip, RandomScale, RandomRotation, RandomOrientation, GridElastic, or changes of colour"
_COLOURS = (PCANoise, ColourJitter, PhotometricDistortion)


def augment(steps: tuple[Any, ...], image: Tensor, mask: Tensor, generator: torch.Generator) -> Pair:
    """One augmentation after another.

    Raises:
        UsageError: one of them moves pixels of the image and knows no masks.
    """
    for step in steps:
        if isinstance(step, JointAugmentation):
            image, mask = step(image, mask, generator)
        elif isinstance(step, HorizontalFlip):
            if _uniform(generator) < step.probability:
                image, mask = (V.horizontal_flip(part) for part in _wrapped(image, mask))
        elif isinstance(step, _COLOURS):
            changed = step(image[None], torch.rand(1, step.draws, generator=generator, dtype=torch.float64))[0]
            image = changed.round().clamp(0, 255).to(torch.uint8) if changed.is_floating_point() else changed
        else:
            raise UsageError(f"augment: {type(step).__name__} knows no masks; expected {MASK_AUGMENTATIONS}")
    return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def resized_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W) -> (h, w): each pixel has the class of the one that its middle lies in.

    Torchvision's resizing of masks takes the one that its corner lies in: they slip beside their images.
    """
    return F.interpolate(mask[None, None], size, mode="nearest-exact")[0, 0]


def window(image: Tensor, mask: Tensor, size: tuple[int, int], fill: Tensor, generator: torch.Generator | None) -> Pair:
    """A window of `size` (h, w): anywhere, or in the middle without a generator.

    Where the image is smaller it is padded to the right and below, by `fill` (C,) uint8 and, in the mask, by void.
    """
    down, right = max(0, size[0] - mask.shape[0]), max(0, size[1] - mask.shape[1])
    if down or right:
        image = torch.stack([F.pad(c, (0, right, 0, down), value=int(v)) for c, v in zip(image, fill, strict=True)])
        mask = F.pad(mask, (0, right, 0, down), value=VOID)
    spare = mask.shape[0] - size[0], mask.shape[1] - size[1]
    y, x = (int((room + 1) * _uniform(generator)) if generator else room // 2 for room in spare)
    rows, columns = slice(y, y + size[0]), slice(x, x + size[1])
    return image[:, rows, columns], mask[rows, columns]


def _uniform(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator, dtype=torch.float64).item()


def _wrapped(image: Tensor, mask: Tensor) -> Pair:
    return tv_tensors.Image(image), tv_tensors.Mask(mask)
