"""How the papers look at a test image: one crop, ten, twelve, 144, a grid of them, or densely.

A protocol is a small value that a recipe can hold. `scales` are lengths of the short side in pixels; none means the
network's own resizing.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from convatlas.errors import UsageError
from convatlas.records import Preprocessing

Scales = tuple[int, ...]


@dataclass(frozen=True)
class OneCrop:
    """The centre of each scale, as the network's own preprocessing has it.

    `side` is that of the crop where it is not the network's input: for networks that end in global pooling.
    """

    scales: Scales = ()
    side: int | None = None


@dataclass(frozen=True)
class TenCrops:
    """Corners and centre of the middle square, and their mirror images (Krizhevsky et al. 2012, section 4.1)."""

    scales: Scales = ()


@dataclass(frozen=True)
class TwelveCrops:
    """The ten of `TenCrops` and the whole square scaled to the input, with its mirror image.

    Szegedy et al. 2015 and 2016 print results for 12 crops and do not say which: these are the twelve that
    GoogLeNet's 144 take of each square (Szegedy et al. 2014, section 7).
    """

    scales: Scales = ()


@dataclass(frozen=True)
class GridCrops:
    """A regular grid of `grid` x `grid` crops and their mirror images (Simonyan and Zisserman 2014, section 3.2)."""

    scales: Scales = ()
    grid: int = 5


@dataclass(frozen=True)
class Crops144:
    """Four scales, three squares, corners, centre and whole, mirrored (Szegedy et al. 2014, section 7).

    Without `scales`, the paper's 256, 288, 320 and 352 pixels for an input of 224, in proportion for others.
    """

    scales: Scales = ()


@dataclass(frozen=True)
class Dense:
    """The network as a convolution over the whole image and its mirror image.

    The map of class scores is averaged (Simonyan and Zisserman 2014, section 3.2), or its maximum taken for each class
    (Sermanet et al. 2013, section 3.3).
    """

    scales: Scales = ()
    pool: Literal["mean", "max"] = "mean"


TestTime = OneCrop | TenCrops | TwelveCrops | GridCrops | Crops144 | Dense

NAMES: dict[str, type[TestTime]] = {
    "1-crop": OneCrop,
    "10-crop": TenCrops,
    "12-crop": TwelveCrops,
    "grid": GridCrops,
    "144-crop": Crops144,
    "dense": Dense,
}
GOOGLENET_SCALES = (256, 288, 320, 352)
GOOGLENET_INPUT = 224


def named(name: str, scales: Scales = ()) -> TestTime:
    """A protocol from the words of a command line.

    Raises:
        UsageError: no such protocol, or a scale below 1.
    """
    if name not in NAMES:
        raise UsageError(f"protocol {name!r} is unknown; expected one of {', '.join(NAMES)}")
    if any(scale < 1 for scale in scales):
        raise UsageError(
            f"scales {' '.join(map(str, scales))} are not lengths; expected lengths of the short side from 1 pixel"
        )
    return NAMES[name](scales=scales)


def with_scales(protocol: TestTime, preprocessing: Preprocessing) -> TestTime:
    """The protocol with the scales that it would have for a network's images.

    Raises:
        UsageError: a scale is smaller than the input, or none is known.
    """
    scales = protocol.scales
    if not scales and isinstance(protocol, Crops144):
        scales = tuple(round(scale * min(preprocessing.size) / GOOGLENET_INPUT) for scale in GOOGLENET_SCALES)
    if not scales and preprocessing.middle < 1:
        scales = (round(min(preprocessing.size) / preprocessing.middle),)
    if not scales and preprocessing.resize == "short_side" and preprocessing.resize_to is not None:
        scales = (preprocessing.resize_to,)
    if not scales:
        raise UsageError(
            f"protocol {describe(protocol)} needs scales: these images are not resized by their short side; "
            "expected scales=SIDES, or protocol='1-crop'"
        )
    if min(scales) < max(preprocessing.size):
        raise UsageError(f"a scale of {min(scales)} px is smaller than the network's input, {max(preprocessing.size)}")
    return replace(protocol, scales=scales)


def at_scale(preprocessing: Preprocessing, scale: int) -> Preprocessing:
    """The same network's images with another short side."""
    return replace(preprocessing, resize="short_side", resize_to=scale, middle=1.0)


def describe(protocol: TestTime | Any) -> str:
    """ "10 crops", "dense at 256, 384 and 512 px"."""
    match protocol:
        case OneCrop(side=None):
            words = "one crop"
        case OneCrop(side=side):
            return f"one crop of {side} px"
        case TenCrops():
            words = "10 crops"
        case TwelveCrops():
            words = "12 crops"
        case GridCrops(grid=grid):
            words = f"{2 * grid * grid} crops"
        case Crops144():
            return "144 crops"
        case Dense(pool="max"):
            words = "dense, best position"
        case Dense():
            words = "dense"
        case _:
            raise TypeError(f"{type(protocol).__name__} is no protocol")
    if not protocol.scales:
        return words
    *some, last = map(str, protocol.scales)
    return f"{words} at {', '.join(some)} and {last} px" if some else f"{words} at {last} px"
