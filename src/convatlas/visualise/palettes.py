"""A colour for each class of a mask."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Palette = NDArray[np.uint8]  # (K, 3) red, green, blue

CAMVID = np.array(  # the 11 classes of SegNet's division, in its order
    [
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ],
    dtype=np.uint8,
)  # fmt: skip
_CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def voc(count: int = 256) -> Palette:
    """The VOC devkit's colours: three at a time, the bits of a class's number are the high bits of red, green and blue.

    Class 0 is black; 255, which is void, is a pale yellow.
    """
    labels = np.arange(count)
    colours = np.zeros((count, 3), dtype=np.uint8)
    for step in range(8):
        for channel in range(3):
            colours[:, channel] |= ((labels >> (3 * step + channel) & 1) << (7 - step)).astype(np.uint8)
    return colours


def for_classes(classes: Sequence[str]) -> Palette:
    """CamVid's colours for CamVid's classes, VOC's for all others."""
    names = tuple(name.lower().replace("_", " ") for name in classes)
    return CAMVID if names == _CAMVID_CLASSES else voc(len(classes))
