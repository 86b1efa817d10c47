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


def scale_grey(image: Image.Image, white: int | None = None) -> tuple[np.ndarray, str | None]:
    """(H, W) uint8 of an image for which `is_deep_grey`, and the range its values were taken to stand in.

    The range is 8, 10, 12, 14 or 16 bits, the smallest that holds the largest value of the image, because cameras
    and scanners of 12 bits write their values into 16-bit files as they are. `white`, the largest value of a data set's
    range, takes its place, so that a dark image stays one among brighter ones. What a file states comes first: a TIFF's
    MaxSampleValue, and the ranges of PPM and JPEG 2000.

    Raises:
        ConvatlasError: values below 0, above 65,535 or above `white`.
    """
    values = np.array(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ConvatlasError(f"pixel values from {low} to {high}; expected 8 or 16 bits")
    stated = _stated_white(image, high)
    white = stated if stated is not None else _within(high, white)
    pixels = scale(values, white)
    if _tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, pixels, out=pixels)
    is_plain = white == 255 and image.mode == "I"  # how some 8-bit TIFF files arrive
    return pixels, None if is_plain else f"16-bit grey with values up to {high:,}: 0 to {white:,} become 0 to 255"


def scale_colour(content: bytes, white: int | None = None) -> tuple[np.ndarray, str] | None:
    """(H, W, 3 or 4) uint8 RGB or RGBA of a file for which `is_deep_colour`; None where OpenCV can't read it.

    `white` and errors are those of `scale_grey`.
    """
    values = _colours(content)
    if values is None:
        return None
    high = int(values[:, :, :3].max())
    white = _within(high, white)
    pixels = scale(values[:, :, :3], white)[:, :, ::-1]
    if values.shape[2] == 4:
        pixels = np.concatenate([pixels, scale(values[:, :, 3:], 65535)], axis=2)
    return np.ascontiguousarray(pixels), f"16-bit colours with values up to {high:,}: 0 to {white:,} become 0 to 255"


def largest_value(image: Image.Image, content: bytes) -> int | None:
    """The largest 16-bit sample of an image; None where it has 8 bits, or its file states a range."""
    if is_deep_grey(image):
        values = np.array(image)
        high = int(values.max())
        return high if 0 <= high <= 65535 and _stated_white(image, high) is None else None
    if is_deep_colour(image, content):
        colours = _colours(content)
        return None if colours is None else int(colours[:, :, :3].max())
    return None


def _stated_white(image: Image.Image, high: int) -> int | None:
    stated = _tiff_tag(image, _MAX_SAMPLE_VALUE)
    stated = stated[0] if isinstance(stated, tuple) and stated else stated
    if image.format in _SCALED:
        return 65535
    return stated if isinstance(stated, int) and high <= stated < 65535 else None


def _colours(content: bytes) -> np.ndarray | None:
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] not in (3, 4):
        return None
    return values


def _within(high: int, white: int | None) -> int:
    """The range of a data set that holds a value, or the value's own.

    Raises:
        ConvatlasError: the value is above the range.
    """
    if white is None:
        return range_of(high)
    if high > white:
        raise ConvatlasError(
            f"16-bit values up to {high:,}, where those of the data set's other images stand in 0 to {white:,}; save "
            f"it in their range"
        )
    return white


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
