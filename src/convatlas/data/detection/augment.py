"""Augmentations of images with objects, as functions of the image, its objects and a generator.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, sections 2.2 and 3.6: zooming out, sampled crops, light.
Redmon et al., "You Only Look Once", CVPR 2016, section 2.2: shifts, scales, exposure and saturation.

Each is a frozen dataclass that is called with a uint8 image (C, H, W), its `Objects` and a `torch.Generator` on the
CPU, the only source of its random numbers, and returns the new image and its objects. Boxes and masks move with the
image. Objects that a crop leaves out are gone.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.colour import PhotometricDistortion
from convatlas.data.detection.distort import SSDPhotometric
from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.records import Objects

ops = Lazy("torchvision.ops")

_TRIALS = 50  # of each kind of crop


@dataclass(frozen=True)
class Mirror:
    """Left and right change places, and top and bottom, each with its own probability."""

    horizontal: float = 0.5
    vertical: float = 0.0  # for images without an up: cells, satellites

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        draws = torch.rand(2, generator=generator).tolist()
        for axis, probability, draw in ((2, self.horizontal, draws[0]), (1, self.vertical, draws[1])):
            if draw < probability:
                image, objects = image.flip(axis), _mirrored(objects, image.shape[axis], axis)
        return image, objects


@dataclass(frozen=True)
class Photometric:
    """Torchvision's form of SSD's distortions: `data.colour.PhotometricDistortion`; the release's: `SSDPhotometric`."""

    distortion: PhotometricDistortion = field(default_factory=PhotometricDistortion)

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        draws = torch.rand(1, self.distortion.draws, generator=generator, dtype=torch.float64)
        return self.distortion(image[None], draws)[0], objects


@dataclass(frozen=True)
class ZoomOut:
    """Puts the image somewhere on a canvas of the mean colour, up to `largest` times as wide and as high."""

    largest: float = 4.0
    probability: float = 0.5
    fill: tuple[int, ...] = (123, 117, 104)  # red, green and blue of ImageNet's mean, as in the release

    def __post_init__(self) -> None:
        if self.largest < 1:
            raise UsageError(f"largest is {self.largest}; expected at least 1")

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        happens, ratio, across, down = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        if happens >= self.probability:
            return image, objects
        C, H, W = image.shape
        ratio = 1 + ratio * (self.largest - 1)
        height, width = int(H * ratio), int(W * ratio)
        top, left = int(down * (height - H + 1)), int(across * (width - W + 1))
        colour = self.fill if len(self.fill) == C else (round(sum(self.fill) / len(self.fill)),) * C
        canvas = torch.tensor(colour, dtype=image.dtype)[:, None, None].expand(C, height, width).clone()
        canvas[:, top : top + H, left : left + W] = image
        return canvas, _moved(objects, left, top, (height, width))


@dataclass(frozen=True)
class SampledCrop:
    """A crop that overlaps some object by at least so much, or the whole image.

    For every entry of `overlaps` up to 50 crops of 0.3 to 1 of the image's side and of half to twice its aspect are
    tried, the aspect drawn evenly and then cut to what fits; the first whose IoU with some object is at least the entry
    is a candidate. One of the candidates and the whole image is taken, all equally often. An object stays if its centre
    is in the crop, and is clipped to it.
    """

    overlaps: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    scale: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (0.5, 2.0)

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UsageError(f"scale is {self.scale}; expected two parts of the side, above 0 and at most 1, in order")

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        draws = torch.rand(len(self.overlaps), _TRIALS, 4, generator=generator, dtype=torch.float64)
        choice = torch.rand((), generator=generator, dtype=torch.float64).item()
        size = (image.shape[1], image.shape[2])
        crops = self._crops(draws, size)
        candidates = [(0, 0, size[1], size[0])]
        if len(objects.boxes):
            best = ops.box_iou(crops.flatten(0, 1), objects.boxes.double()).amax(1).view(crops.shape[:2])
            for tried, overlap, wanted in zip(crops, best, self.overlaps, strict=True):
                good = (overlap >= wanted).nonzero()
                if len(good):
                    candidates.append(tuple(tried[good[0, 0]].long().tolist()))
        left, top, right, bottom = candidates[int(choice * len(candidates))]
        return image[:, top:bottom, left:right], _cropped(objects, (left, top, right, bottom))

    def _crops(self, draws: Tensor, size: tuple[int, int]) -> Tensor:
        """Whole pixels inside an image of (H, W), of at least one pixel.  (..., 4) in [0, 1) -> (..., 4) xyxy"""
        scale = self.scale[0] + draws[..., 0] * (self.scale[1] - self.scale[0])
        aspect = self.aspect[0] + draws[..., 1] * (self.aspect[1] - self.aspect[0])
        root = torch.minimum(torch.maximum(aspect, scale.square()), scale.pow(-2)).sqrt()
        width = (scale * root * size[1]).round().clamp(1, size[1])
        height = (scale / root * size[0]).round().clamp(1, size[0])
        left, top = (draws[..., 2] * (size[1] - width + 1)).floor(), (draws[..., 3] * (size[0] - height + 1)).floor()
        return torch.stack([left, top, left + width, top + height], -1)


@dataclass(frozen=True)
class ShuffleObjects:
    """Brings the objects into a random order, so that of several in one cell of a grid any may be learned.

    Source: `randomize_boxes` in src/data.c of pjreddie/darknet, which exchanges each entry with one at random.
    """

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        count = len(objects.boxes)
        order = list(range(count))
        for place, draw in enumerate(torch.rand(count, generator=generator, dtype=torch.float64).tolist()):
            other = int(draw * count)
            order[place], order[other] = order[other], order[place]
        return image, _chosen(objects, torch.tensor(order, dtype=torch.int64))


@dataclass(frozen=True)
class ScaleTranslate:
    """Moves each edge of the image in or out by up to a part of its length; what is outside is black.

    As in Darknet, shifts are whole pixels, cut off towards 0; objects are clipped, and gone where under a hundredth of
    the new width or height is left of them.
    """

    most: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.most < 0.5:
            raise UsageError(f"most is {self.most}; expected a part of the side from 0 to below 0.5")

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        H, W = image.shape[1:]
        limits = (self.most * torch.tensor([W, H, W, H], dtype=torch.float64)).long()
        draws = 2 * torch.rand(4, generator=generator, dtype=torch.float64) - 1
        left, top, right, bottom = (draws * limits).long().tolist()
        image = F.pad(image, (-left, right, -top, bottom))
        kept = _cropped(objects, (left, top, W + right, H + bottom), by_centre=False)
        sides = kept.boxes[:, 2:] - kept.boxes[:, :2]
        return image, _chosen(kept, (sides >= 0.01 * torch.tensor([image.shape[2], image.shape[1]])).all(1))


@dataclass(frozen=True)
class ExposureSaturation:
    """Multiplies saturation and value, in HSV, each by a factor from 1 to `most` or by its inverse."""

    most: float = 1.5

    def __post_init__(self) -> None:
        if self.most < 1:
            raise UsageError(f"most is {self.most}; expected at least 1")

    def __call__(self, image: Tensor, objects: Objects, generator: torch.Generator) -> tuple[Tensor, Objects]:
        amounts, inverse = torch.rand(2, 2, generator=generator, dtype=torch.float64)
        factors = 1 + amounts * (self.most - 1)
        saturation, exposure = torch.where(inverse < 0.5, factors, 1 / factors).tolist()
        return scale_hsv(image, saturation, exposure), objects


BoxAugmentation = (
    Mirror | Photometric | SSDPhotometric | ZoomOut | SampledCrop | ShuffleObjects | ScaleTranslate | ExposureSaturation
)


def scale_hsv(image: Tensor, saturation: float, value: float) -> Tensor:
    """uint8 (C, H, W) with its saturation and value multiplied, and cut off at what bytes can hold.

    A channel is V (1 - S k) with k of the hue alone, so that it need not be taken apart.
    """
    largest = image.amax(0, keepdim=True).float()
    return ((largest - (largest - image) * saturation) * value).round().clamp(0, 255).to(image.dtype)


def _chosen(objects: Objects, keep: Tensor) -> Objects:
    masks = None if objects.masks is None else objects.masks[keep]
    return Objects(objects.boxes[keep], objects.labels[keep], objects.difficult[keep], masks)


def _mirrored(objects: Objects, length: int, axis: int) -> Objects:
    """`axis` 2 is left and right, 1 is top and bottom."""
    low, high = (0, 2) if axis == 2 else (1, 3)
    boxes = objects.boxes.clone()
    boxes[:, low], boxes[:, high] = length - objects.boxes[:, high], length - objects.boxes[:, low]
    masks = None if objects.masks is None else objects.masks.flip(axis)
    return Objects(boxes, objects.labels, objects.difficult, masks)


def _moved(objects: Objects, left: int, top: int, size: tuple[int, int]) -> Objects:
    """On a canvas of (H, W) pixels, with the image's corner at (left, top)."""
    boxes = objects.boxes + torch.tensor([left, top, left, top])
    masks = objects.masks
    if masks is not None:
        height, width = masks.shape[1:]
        masks = F.pad(masks, (left, size[1] - width - left, top, size[0] - height - top))
    return Objects(boxes, objects.labels, objects.difficult, masks)


def _cropped(objects: Objects, window: tuple[int, int, int, int], *, by_centre: bool = True) -> Objects:
    """In the pixels of the window (x1, y1, x2, y2), which may reach beyond the image, and clipped to it."""
    left, top, right, bottom = window
    corner, far = torch.tensor([left, top]), torch.tensor([right, bottom])
    low, high = (objects.boxes[:, :2] - corner, objects.boxes[:, 2:] - corner)
    size = (far - corner).to(low.dtype)
    centres = (low + high) / 2
    clipped = torch.cat([torch.minimum(low.clamp(min=0), size), torch.minimum(high.clamp(min=0), size)], 1)
    inside = ((centres >= 0) & (centres < size)).all(1) if by_centre else (clipped[:, 2:] > clipped[:, :2]).all(1)
    masks = objects.masks
    if masks is not None:
        height, width = masks.shape[1:]
        masks = F.pad(masks, (-left, right - width, -top, bottom - height))
    return _chosen(Objects(clipped, objects.labels, objects.difficult, masks), inside)


SSD_AUGMENTATION = (SSDPhotometric(), ZoomOut(), SampledCrop(), Mirror())
YOLO_AUGMENTATION = (ShuffleObjects(), ScaleTranslate(), ExposureSaturation(), Mirror())
