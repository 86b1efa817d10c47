"""From an image to a network's input, in two halves.

`prepare` changes the geometry and stays in uint8, once for each image; `normalise` makes the float values of a
whole batch on its device. Channels are the second last axis but one everywhere: (C, H, W) or (B, C, H, W).
"""

import base64
import binascii
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing

Framing = Literal["whole", "crop", "native"]
"""What `shape` leaves to do: nothing; a crop of the resized image; a crop and the resizing."""

MEASURE = "training"  # of `mean_image`: to be measured on the training images

# ITU-R BT.601 luma in 16-bit fixed point, as Pillow's convert("L") has it
_LUMA = (19595, 38470, 7471)

_LARGE = 1 << 16  # values of an image from which on a batch doesn't fit in a processor's cache
_NATIVE_SCALE = 2  # a native image's short side is at most this multiple of `resize_to`
_MAX_ASPECT = 64  # of images that are scaled by their short side; the ends of longer ones are cut off


def prepare(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Converts, resizes, then crops or pads with black around the centre: uint8 (C, H, W) -> uint8 (c, h, w).

    A batch (B, C, H, W) is prepared as one.

    Raises:
        UsageError: the channels can't be converted, or the resizing lacks its size.
    """
    return centre(resize(convert_channels(image, preprocessing.channels), preprocessing), preprocessing.size)


def shape(image: Tensor, preprocessing: Preprocessing, framing: Framing) -> Tensor:
    """`prepare`, or the part of it that comes before an augmentation's crop: uint8 (C, H, W) -> uint8 (c, h, w)

    For "crop" the image is resized and keeps its aspect; it is never smaller than `preprocessing.size`. For "native"
    it keeps its size too, but for one more than twice as large as the resizing would make it, which comes down to that.
    """
    if framing == "whole":
        return prepare(image, preprocessing)
    image = convert_channels(image, preprocessing.channels)
    preprocessing = _before_crops(preprocessing)
    if framing == "native" and preprocessing.resize == "short_side":
        short, long = sorted(image.shape[-2:])
        usual = short <= _NATIVE_SCALE * (preprocessing.resize_to or short) and long <= _MAX_ASPECT * short
        return image if usual else resize(image, _native(preprocessing, short))
    image = resize(image, preprocessing)
    height, width = preprocessing.size
    return centre(image, (max(height, image.shape[-2]), max(width, image.shape[-1])))


def shaped_size(height: int, width: int, preprocessing: Preprocessing, framing: Framing) -> tuple[int, int]:
    """(H, W) of what `shape` gives for an image of this size, but for images of extreme aspect."""
    if framing == "whole":
        return preprocessing.size
    preprocessing = _before_crops(preprocessing)
    if framing == "native" and preprocessing.resize == "short_side":
        return resized_size(height, width, _native(preprocessing, min(height, width)))
    height, width = resized_size(height, width, preprocessing)
    return max(height, preprocessing.size[0]), max(width, preprocessing.size[1])


def needed_side(preprocessing: Preprocessing, framing: Framing) -> int | None:
    """What `decode` may be told of the short side that is needed: None where every pixel counts.

    A photograph that is reduced before random crops anyway may come smaller from the decoder. What is tested on, or
    cropped as the papers did, is always decoded in full.
    """
    preprocessing = _before_crops(preprocessing)
    if framing != "native" or preprocessing.resize != "short_side" or preprocessing.resize_to is None:
        return None
    return 2 * _NATIVE_SCALE * preprocessing.resize_to


def _before_crops(preprocessing: Preprocessing) -> Preprocessing:
    """Where random crops are taken, the whole image, at the scale at which its middle would fill the input."""
    if preprocessing.middle == 1:
        return preprocessing
    side = round(min(preprocessing.size) / preprocessing.middle)
    return replace(preprocessing, resize="short_side", resize_to=side, middle=1.0)


def _native(preprocessing: Preprocessing, short_side: int) -> Preprocessing:
    return replace(preprocessing, resize_to=min(short_side, _NATIVE_SCALE * (preprocessing.resize_to or short_side)))


def convert_channels(image: Tensor, channels: int) -> Tensor:
    """Grey to any number of equal channels, or RGB to grey: uint8 (..., C, H, W) -> uint8 (..., channels, H, W)"""
    have = image.shape[-3]
    if have == channels:
        return image
    if have == 1:
        return image.expand(*image.shape[:-3], channels, *image.shape[-2:])
    if (have, channels) == (3, 1):
        red, green, blue = image.to(torch.int32).unbind(-3)
        grey = (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + 0x8000) >> 16
        return grey.to(torch.uint8).unsqueeze(-3)
    raise UsageError(f"images with {have} channels can't become {channels} channels; expected grey or RGB")


def resize(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Bilinear with antialiasing, to what `preprocessing` asks for: uint8 (..., C, H, W) -> uint8 (..., C, h, w)"""
    image = middle_part(image, preprocessing.middle)
    if preprocessing.resize == "short_side":  # a line of pixels would otherwise grow to gigabytes
        short = min(image.shape[-2:])
        longest = _MAX_ASPECT * short
        image = centre(image, (min(image.shape[-2], longest), min(image.shape[-1], longest)))
    height, width = image.shape[-2:]
    target = resized_size(height, width, preprocessing)
    if target == (height, width):
        return image
    batch = image if image.ndim == 4 else image[None]
    if image.device.type == "cpu":  # has a fixed-point kernel for uint8, like Pillow's
        scaled = F.interpolate(batch, target, mode="bilinear", antialias=True)
    else:
        scaled = F.interpolate(batch.float(), target, mode="bilinear", antialias=True)
        scaled = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return scaled if image.ndim == 4 else scaled[0]


def middle_part(image: Tensor, part: float) -> Tensor:
    """The middle of both sides, equally far from opposite edges: (..., H, W) -> (..., h, w)

    Example:
        >>> middle_part(torch.zeros(3, 100, 80), 0.875).shape
        torch.Size([3, 88, 70])
    """
    for axis in (-2, -1):
        margin = int((image.shape[axis] - image.shape[axis] * part) / 2)
        image = image.narrow(axis, margin, image.shape[axis] - 2 * margin)
    return image


def resized_size(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """(H, W) after the resizing, before the crop. Raises UsageError where `resize_to` is missing."""
    if preprocessing.resize == "none":
        return height, width
    side = preprocessing.resize_to
    if side is None or side < 1:
        raise UsageError(f"resize_to is {side}; expected at least 1 pixel with resize {preprocessing.resize!r}")
    if preprocessing.resize == "stretch":
        return side, side
    if preprocessing.resize == "short_side":  # the long side is truncated, as torchvision's Resize does
        short = min(height, width)
        return (side, side * width // short) if height == short else (side * height // short, side)
    long = max(height, width)
    return max(1, round(height * side / long)), max(1, round(width * side / long))  # "fit"


def centre(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops or pads with 0 around the centre; an odd pixel goes to the bottom or right: (..., H, W) -> (..., h, w)"""
    for axis, wanted in ((-2, size[0]), (-1, size[1])):
        if image.shape[axis] > wanted:
            image = image.narrow(axis, (image.shape[axis] - wanted) // 2, wanted)
    down, right = size[0] - image.shape[-2], size[1] - image.shape[-1]
    if down or right:
        image = F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))
    return image


def normalise(
    batch: Tensor, preprocessing: Preprocessing, empty: Callable[[Sequence[int]], Tensor] = torch.empty
) -> Tensor:
    """(x / 255 - mean) / std, channel by channel: uint8 or float of 0..255 (B, C, H, W) -> float32 (B, C, H, W)

    `mean` and `std` belong to the channels in RGB order; with channel order "bgr" the channels are then reversed.
    A mean image stands in the place of `mean`. Memory for large images on the CPU comes from `empty`.

    Raises:
        UsageError: the number of means or deviations is neither 1 nor the number of channels, or the mean image is
            still to be measured.
        ConvatlasError: the mean image is damaged.
    """
    scaling = _scaling(preprocessing, batch.device)
    if preprocessing.channel_order == "bgr":
        batch = batch.flip(1)
    if batch.device.type != "cpu" or len(batch) == 0 or batch[0].numel() < _LARGE:
        scaled = batch.mul(scaling.factor) if batch.dtype == torch.float32 else batch.float().mul_(scaling.factor)
        return scaled.add_(scaling.offset)
    result = empty(batch.shape)
    for part, image in zip(result, batch, strict=True):  # passes over memory cost more than the arithmetic
        part.copy_(image).mul_(scaling.factor).add_(scaling.offset)
    return result


def pack_mean_image(image: Tensor) -> str:
    """Values in [0, 1], rounded to half precision, as text for `Preprocessing.mean_image`: (C, H, W) -> text"""
    values = image.to(torch.float16).contiguous().numpy().astype("<f2")
    return base64.b64encode(zlib.compress(values.tobytes(), level=9)).decode("ascii")


def unpack_mean_image(preprocessing: Preprocessing) -> Tensor:
    """The inverse of `pack_mean_image`: float64 (C, H, W) of the preprocessing's channels and size"""
    text = preprocessing.mean_image
    if text is None or text == MEASURE:
        raise UsageError(f"mean_image is {text!r}; expected values (`data.measured` takes them from training images)")
    extent = (preprocessing.channels, *preprocessing.size)
    expected = 2 * extent[0] * extent[1] * extent[2]
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), max_length=expected + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ConvatlasError(f"mean_image is damaged: {error}") from error
    if len(raw) != expected:
        raise ConvatlasError(f"mean_image holds {len(raw)} bytes or more; expected {expected} for {extent}")
    return torch.from_numpy(np.frombuffer(raw, "<f2").astype(np.float64).reshape(extent))


class _Scaling(NamedTuple):
    factor: Tensor  # float32 (C, 1, 1)
    offset: Tensor  # float32 (C, 1, 1), or (C, H, W) with a mean image


@lru_cache(maxsize=32)
def _scaling(preprocessing: Preprocessing, device: torch.device) -> _Scaling:
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(values) not in (1, preprocessing.channels):
            raise UsageError(f"{name} has {len(values)} values; expected 1 or {preprocessing.channels}, one a channel")
    with torch.inference_mode(False):  # the cache may be filled during an evaluation and read during training
        mean = torch.tensor(preprocessing.mean, dtype=torch.float64).view(-1, 1, 1)
        std = torch.tensor(preprocessing.std, dtype=torch.float64).view(-1, 1, 1)
        if preprocessing.mean_image is not None:
            mean = unpack_mean_image(preprocessing)
        if not (std > 0).all():
            raise UsageError(f"std is {preprocessing.std}; expected values above 0")
        channels = max(len(mean), len(std))
        factor, offset = (1 / (255 * std)).expand(channels, -1, -1), (-mean / std).expand(channels, -1, -1)
        if preprocessing.channel_order == "bgr":
            factor, offset = factor.flip(0), offset.flip(0)
        return _Scaling(*(value.to(torch.float32).contiguous().to(device) for value in (factor, offset)))
