"""From 16-bit samples to 8 bits, by the range that a file's values stand in."""

import cv2
import numpy as np
from PIL import Image

from convatlas.errors import ConvatlasError

_DEPTHS = (8, 10, 12, 14, 16)
_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE, _PHOTOMETRIC = 281, 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0
_SCALED = ("PPM", "JPEG2000", "HEIF", "AVIF")  # their readers scale to 16 bits by what the header says
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # bytes of a PNG's header
_CHUNK = 1 << 22  # samples at once


def is_deep_grey(image: Image.Image) -> bool:
    """Whether Pillow gives the image as grey samples of more than 8 bits."""
    return image.mode == "I" or image.mode.startswith("I;16")


def is_deep_colour(image: Image.Image, content: bytes) -> bool:
    """Whether a PNG or TIFF has colours, or grey with transparency, in 16 bits, of which Pillow gives the upper 8."""
    if image.format == "PNG":
        return content[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10" and content[_PNG_COLOUR : _PNG_COLOUR + 1] in (
            b"\2",
            b"\4",
            b"\6",
        )
    bits = _tiff_tag(image, _BITS_PER_SAMPLE)
    return isinstance(bits, tuple) and len(bits) > 1 and set(bits) == {16}


def scale_grey(image: Image.Image) -> tuple[np.ndarray, str | None]:
    """(H, W) uint8 of an image for which `is_deep_grey`, and the range its values were taken to stand in.

    The range is 8, 10, 12, 14 or 16 bits, the smallest that holds the largest value of the image, because cameras
    and scanners of 12 bits write their values into 16-bit files as they are; a TIFF's MaxSampleValue comes first. PPM
    and JPEG 2000 tell their range, and are scaled by it.

    Raises:
        ConvatlasError: values below 0 or above 65,535.
    """
    values = np.array(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ConvatlasError(f"pixel values from {low} to {high}; expected 8 or 16 bits")
    stated = _tiff_tag(image, _MAX_SAMPLE_VALUE)
    stated = stated[0] if isinstance(stated, tuple) and stated else stated
    if image.format in _SCALED:
        white = 65535
    elif isinstance(stated, int) and high <= stated < 65535:
        white = stated
    else:
        white = range_of(high)
    pixels = scale(values, white)
    if _tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, pixels, out=pixels)
    is_plain = white == 255 and image.mode == "I"  # how some 8-bit TIFF files arrive
    return pixels, None if is_plain else f"16-bit grey with values up to {high:,}: 0 to {white:,} become 0 to 255"


def scale_colour(content: bytes) -> tuple[np.ndarray, str] | None:
    """(H, W, 3 or 4) uint8 RGB or RGBA of a file for which `is_deep_colour`; None where OpenCV can't read it."""
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] not in (3, 4):
        return None
    high = int(values[:, :, :3].max())
    white = range_of(high)
    pixels = scale(values[:, :, :3], white)[:, :, ::-1]
    if values.shape[2] == 4:
        pixels = np.concatenate([pixels, scale(values[:, :, 3:], 65535)], axis=2)
    return np.ascontiguousarray(pixels), f"16-bit colours with values up to {high:,}: 0 to {white:,} become 0 to 255"


def range_of(largest: int) -> int:
    """The largest value of the smallest usual depth that holds a value: 900 -> 1023, 4000 -> 4095, 4096 -> 16383"""
    return next((1 << bits) - 1 for bits in _DEPTHS if largest < 1 << bits)


def scale(values: np.ndarray, white: int) -> np.ndarray:
    """Values from 0 to `white` become 0 to 255, rounded; a few at once, so that no float copy of all is made."""
    table = np.round(np.minimum(np.arange(65536), white) * (255.0 / white)).astype(np.uint8)
    flat = values.reshape(-1)
    pixels = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _CHUNK):
        pixels[start : start + _CHUNK] = table[flat[start : start + _CHUNK]]
    return pixels.reshape(values.shape)


def _tiff_tag(image: Image.Image, tag: int) -> object:
    """A tag's value; None in other files and where it is absent or damaged."""
    if image.format != "TIFF":
        return None
    try:
        return image.getexif().get(tag)
    except Exception:  # damaged tags say nothing about the pixels
        return None
