"""Where an image lies in a network's input, and how its boxes and masks go there and come back."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.preprocess import centre, convert_channels, resized_size
from convatlas.errors import UsageError
from convatlas.records import Detections, Objects, Preprocessing


@dataclass(frozen=True)
class Placement:
    """An image is scaled, then laid into the input."""

    image: tuple[int, int]  # H, W
    scaled: tuple[int, int]  # H, W
    offset: tuple[int, int]  # top, left of the scaled image in the input; below 0 where it is cut off
    size: tuple[int, int]  # H, W of the input

    def to_input(self, objects: Objects) -> Objects:
        """From the image's pixels to the input's; objects that have been cut off are left out."""
        boxes, seen = _inside(objects.boxes * self._scale() + self._shift(), self.size)
        masks = None if objects.masks is None else self._mask_to_input(objects.masks[seen])
        return Objects(boxes[seen], objects.labels[seen], objects.difficult[seen], masks)

    def to_image(self, found: Detections) -> Detections:
        """From the input's pixels to the image's; what lies beside the image is left out."""
        boxes, seen = _inside((found.boxes.cpu() - self._shift()) / self._scale(), self.image)
        masks = None if found.masks is None else self._mask_to_image(found.masks.cpu()[seen])
        return Detections(boxes[seen], found.labels.cpu()[seen], found.scores.cpu()[seen], masks)

    def _scale(self) -> Tensor:
        down, right = (scaled / side for scaled, side in zip(self.scaled, self.image, strict=True))
        return torch.tensor([right, down, right, down])

    def _shift(self) -> Tensor:
        top, left = self.offset
        return torch.tensor([left, top, left, top], dtype=torch.float32)

    def _mask_to_input(self, masks: Tensor) -> Tensor:
        """(N, H, W) bool -> (N, h, w)"""
        top, left = self.offset
        down, right = (side - scaled - at for side, scaled, at in zip(self.size, self.scaled, self.offset, strict=True))
        return F.pad(_scaled(masks, self.scaled), (left, right, top, down))  # below 0 it cuts

    def _mask_to_image(self, masks: Tensor) -> Tensor:
        """(N, h, w) bool -> (N, H, W)"""
        height, width = masks.shape[1:]
        top, left = self.offset
        whole = F.pad(masks, (-left, self.scaled[1] + left - width, -top, self.scaled[0] + top - height))
        return _scaled(whole, self.image)


def place(image: tuple[int, int], preprocessing: Preprocessing) -> Placement:
    """Where an image of this size (H, W) goes.

    "stretch" and "fit" fill `preprocessing.size`, the latter around its centre. "short_side" scales until the short
    side is `resize_to` or the long one max(size), whichever comes first, and "none" leaves the image as it is: these
    inputs have a size of their own, and a batch is padded at the bottom and the right.

    Raises:
        UsageError: the resizing lacks its size.
    """
    if preprocessing.resize == "none":
        return Placement(image, image, (0, 0), image)
    if preprocessing.resize == "short_side":
        if preprocessing.resize_to is None or preprocessing.resize_to < 1:
            raise UsageError(f"resize_to is {preprocessing.resize_to}; expected at least 1 pixel")
        scale = min(preprocessing.resize_to / min(image), max(preprocessing.size) / max(image))
        scaled = max(1, round(image[0] * scale)), max(1, round(image[1] * scale))
        return Placement(image, scaled, (0, 0), scaled)
    scaled = resized_size(*image, preprocessing)
    top, left = (
        -((has - wanted) // 2) if has > wanted else (wanted - has) // 2
        for has, wanted in zip(scaled, preprocessing.size, strict=True)
    )
    return Placement(image, scaled, (top, left), preprocessing.size)


def shape(image: Tensor, preprocessing: Preprocessing, placement: Placement) -> Tensor:
    """The input, still in 8 bits: uint8 (C, H, W) -> uint8 (c, h, w); what the image leaves free is black"""
    image = convert_channels(image, preprocessing.channels)
    if placement.scaled != tuple(image.shape[1:]):
        image = F.interpolate(image[None], placement.scaled, mode="bilinear", antialias=True)[0]
    return centre(image, placement.size)


def _inside(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) cut to an image of this size, and which of them are still something, (N,) bool"""
    height, width = size
    limits = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    return boxes, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _scaled(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[1:]) == size or len(masks) == 0:
        return masks if len(masks) else masks.new_zeros(0, *size)
    return F.interpolate(masks[None].float(), size, mode="nearest-exact")[0] > 0
