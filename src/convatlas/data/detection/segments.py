"""COCO's polygons and run lengths: what is wrong with them, said before anything is drawn, and the masks they mean."""

import math
from typing import Any

import numpy as np

from convatlas.errors import ConvatlasError

_MAX_CHARACTERS = 1 << 24  # of packed run lengths
_ROUND = 2  # pixels that a polygon may reach beyond its image, as programs round; more, and it is for another image


def find_fault(segments: Any, size: tuple[int, int]) -> str | None:
    """Why polygons or run lengths can't be drawn on an image of (H, W), or None.

    Coordinates have to be finite and within a side's length around the image, and run lengths have to fill it.
    """
    if isinstance(segments, list):
        return _polygons_fault(segments, size)
    if not isinstance(segments, dict):
        return "a segmentation that is neither polygons nor run lengths"
    try:
        stated = [int(side) for side in segments["size"]]
        if stated != list(size):
            other = " x ".join(map(str, reversed(stated)))[:40]
            return f"a segmentation for {other} pixels; expected {size[1]} x {size[0]}"
        counts = _counts(segments["counts"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return f"run lengths that can't be understood ({error!r:.80})"
    if any(count < 0 for count in counts) or sum(counts) != size[0] * size[1]:
        return f"run lengths of {sum(counts)} pixels in all; expected {size[0] * size[1]}, none below 0"
    return None


def rasterise(segments: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO's polygons, or its run lengths, packed or not -> (H, W) bool

    Raises:
        ConvatlasError: they can't be understood, or are for another image.
    """
    if fault := find_fault(segments, size):
        raise ConvatlasError(f"{fault}; expected polygons or run lengths of the image")
    packed = segments["counts"] if isinstance(segments, dict) else _draw(segments, size)
    counts = _counts(packed)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)


def _draw(polygons: list[Any], size: tuple[int, int]) -> str:
    """The packed run lengths of polygons that `find_fault` has passed."""
    from pycocotools import mask as rle

    try:
        drawn: Any = rle.frPyObjects([list(map(float, polygon)) for polygon in polygons], *size)  # pyright: ignore
        packed: Any = rle.merge(drawn)["counts"]
        return packed.decode("ascii")
    except Exception as error:  # its C code raises anything
        raise ConvatlasError(f"a segmentation can't be drawn: {error}") from error


def polygon_box(points: list[float]) -> tuple[float, float, float, float]:
    """The box around x1, y1, x2, y2, ... of at least one point."""
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def _polygons_fault(polygons: list[Any], size: tuple[int, int]) -> str | None:
    if not polygons:
        return "a segmentation without polygons"
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return "a polygon that is not a list of at least three points x, y, x, y, ..."
        for length, places in ((size[1], polygon[::2]), (size[0], polygon[1::2])):
            if not all(isinstance(place, int | float) for place in places):
                return "a polygon with something else than numbers"
            if not all(_is_near(place, length) for place in places):
                return f"a polygon that reaches far beyond its image of {size[1]} x {size[0]} pixels"
    return None


def _is_near(place: float, length: int) -> bool:
    try:
        return math.isfinite(place) and -length - _ROUND <= place <= 2 * length + _ROUND
    except OverflowError:  # a whole number beyond floats
        return False


def _counts(packed: Any) -> list[int]:
    """Run lengths, unpacked where they are COCO's string: base 48 by six bits, differences to the last but one."""
    if isinstance(packed, list):
        if not all(isinstance(count, int) for count in packed):
            raise ValueError("run lengths that are not whole numbers")
        return packed
    if not isinstance(packed, str) or len(packed) > _MAX_CHARACTERS:
        raise TypeError("run lengths that are neither a list nor a string")
    counts: list[int] = []
    value = shift = 0
    for character in packed:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 35:
            raise ValueError("run lengths that are not packed as COCO packs them")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("run lengths that end in the middle of a number")
    return counts
