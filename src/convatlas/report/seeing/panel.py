"""What every method of seeing gets and gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.inference import Source
from convatlas.records import Problem
from convatlas.visualise import maps

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """The images for methods that look at many."""

    name: str
    count: int
    read: Callable[[int], Tensor | Problem]  # uint8 (C, H, W), prepared
    labels: Tensor | None  # (count,) outputs of the network; None where they are not known
    called: Callable[[int], str] = str  # what a message calls an image


@dataclass(frozen=True)
class Part:
    """A box in shares of the image as the network gets it: 0 is its upper or left edge, 1 the other."""

    name: str
    y: float
    x: float
    height: float
    width: float
    image: str | None = None  # the file's name; None for every image


@dataclass(frozen=True)
class Options:
    """What the user may choose; None leaves the choice to the method."""

    layer: str | None = None
    map: int | None = None
    target: int | None = None  # the class to ask about; None is the most probable
    pool: Callable[[], Pool] | None = None  # opened by the methods that need it
    parts: tuple[Part, ...] = ()  # of the images, for correspondence


@dataclass(frozen=True)
class Subject:
    """An image as the network gets it, and what the network says."""

    path: Path  # of a data set without files, what it calls the image
    image: Array  # (H, W, 3) or (H, W) in [0, 1]
    x: Tensor  # (1, C, H, W)
    target: int  # the class that is asked about
    probability: float  # of that class


@dataclass(frozen=True)
class Panel:
    """One figure with what a reader needs beside it, and its numbers."""

    method: str
    title: str
    caption: str
    figure: Figure
    numbers: dict[str, Any]  # for JSON
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)  # too large for JSON
    path: Path | None = None  # the image; None for the whole network
    table: tuple[tuple[str, ...], ...] = ()  # the heads, then the rows


def default_layer(source: Source, x: Tensor) -> str:
    """The last layer with weights and maps of more than one place, before those that give a map per class."""
    names = [name for name, module in maps.rows(source.net) if any(True for _ in module.parameters())]
    shapes = {name: values.shape for name, values in maps.feature_maps(source.net, x)}
    found = [name for name in names if len(shapes.get(name, ())) == 3 and max(shapes[name][1:]) > 1]
    inner = [name for name in found if shapes[name][0] != len(source.classes)]
    if not inner:
        raise UsageError(f"{source.name} has no layer with maps; expected a convolutional network")
    return inner[-1]


def reads_bgr(source: Source) -> bool:
    return source.preprocessing.channel_order == "bgr"


def together(found: Sequence[Subject]) -> Tensor:
    if not found:
        raise UsageError("images are absent: there are none to look at; name files or a data set")
    return torch.cat([subject.x for subject in found])


def opened(options: Options) -> Pool:
    if options.pool is None:
        raise UsageError("images are absent: there are none to look at; name files or a data set")
    return options.pool()
