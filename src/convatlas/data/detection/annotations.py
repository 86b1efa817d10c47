"""What a reader finds in annotation files, and what is kept of it: boxes that mark something, of known classes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from convatlas.data.decode import upright_size
from convatlas.data.folder import SUFFIXES
from convatlas.structures import ConvatlasError, Problem

FaultKind = Literal[
    "empty", "reversed", "outside", "not a number", "unknown class", "no picture", "no annotation", "damaged"
]

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Fault(Problem):
    """An object or a picture that is left out, and why."""

    kind: FaultKind = "damaged"


class Drawn(NamedTuple):
    """An object as its file gives it."""

    name: str  # of its class
    box: tuple[float, float, float, float]  # x1, y1, x2, y2, pixel edges
    difficult: bool = False
    segments: Any = None  # COCO's polygons or run lengths


class Page(NamedTuple):
    """A picture and what its annotation says of it."""

    path: str
    size: tuple[int, int] | None  # H, W as annotated
    objects: list[Drawn]
    source: str  # the annotation's file, for messages
    fractions: bool = False  # boxes are fractions of the picture's width and height


@dataclass(frozen=True)
class Part:
    """One part of a data set, before it is judged."""

    pages: list[Page] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Source(NamedTuple):
    """All parts of a data set; classes are None where the source lists none and they are what occurs."""

    parts: Mapping[str, Part]
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Annotated:
    """A picture's file and its objects, all of which mark something."""

    path: str
    size: tuple[int, int]  # H, W
    boxes: Tensor  # (N, 4) float32, within the picture
    labels: Tensor  # (N,) int64
    difficult: Tensor  # (N,) bool
    segments: tuple[Any, ...] = ()  # one an object where masks were read, else none
    clipped: tuple[str, ...] = ()  # which boxes stuck out and were cut


def occurring(parts: Iterable[Part]) -> tuple[str, ...]:
    """The names of all objects, sorted; by value where all are whole numbers."""
    names = {drawn.name for part in parts for page in part.pages for drawn in page.objects}
    whole = all(name.isdecimal() and name.isascii() for name in names)
    return tuple(sorted(names, key=int)) if whole else tuple(sorted(names))


def judge(part: Part, classes: Sequence[str]) -> tuple[list[Annotated], list[Fault]]:
    """The pictures with their usable objects, and everything that is left out."""
    labels = {name: label for label, name in enumerate(classes)}
    kept, faults = [], list(part.faults)
    for page in part.pages:
        try:
            size = page.size or upright_size(page.path)
        except ConvatlasError as error:
            faults.append(Fault(page.path, str(error), "damaged"))
            continue
        kept.append(_judge_page(page, size, labels, faults))
    return kept, faults


def _judge_page(page: Page, size: tuple[int, int], labels: Mapping[str, int], faults: list[Fault]) -> Annotated:
    height, width = size
    scale = (width, height, width, height) if page.fractions else (1.0, 1.0, 1.0, 1.0)
    boxes, own, difficult, segments, clipped = [], [], [], [], []
    for number, drawn in enumerate(page.objects, start=1):
        x1, y1, x2, y2 = (side * factor for side, factor in zip(drawn.box, scale, strict=True))
        named = f"object {number} ({drawn.name}), box {x1:g}, {y1:g}, {x2:g}, {y2:g}"
        fault = _fault((x1, y1, x2, y2), size)
        if drawn.name not in labels:
            faults.append(Fault(page.source, f"{named}: the class is not among the {len(labels)}", "unknown class"))
            continue
        if fault is not None:
            faults.append(Fault(page.source, f"{named}: {fault} in a picture of {width} x {height} pixels", fault))
            continue
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        out = max(inside[0] - x1, inside[1] - y1, x2 - inside[2], y2 - inside[3])
        if out > 1:  # what programs round and count from 0 or 1 is no mistake of a person
            clipped.append(f"{named}: {out:g} pixels out of a picture of {width} x {height}")
        boxes.append(inside)
        own.append(labels[drawn.name])
        difficult.append(drawn.difficult)
        segments.append(drawn.segments)
    return Annotated(
        page.path,
        size,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(own, dtype=torch.int64),
        torch.tensor(difficult, dtype=torch.bool),
        tuple(segments) if any(each is not None for each in segments) else (),
        tuple(clipped),
    )


def _fault(box: tuple[float, float, float, float], size: tuple[int, int]) -> FaultKind | None:
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return "not a number"
    if x2 < x1 or y2 < y1:
        return "reversed"
    if x2 == x1 or y2 == y1:
        return "empty"
    return "outside" if x2 <= 0 or y2 <= 0 or x1 >= size[1] or y1 >= size[0] else None


def find_picture(name: str, folders: Sequence[Path]) -> str | None:
    """The file of this name (with its suffix, or without one) in the first folder that has it."""
    plain = Path(name.replace("\\", "/"))
    for folder in folders:
        for candidate in (folder / plain, folder / plain.name):
            if candidate.is_file() and candidate.suffix.lower() in SUFFIXES:
                return str(candidate)
    for folder in folders:
        for suffix in sorted(SUFFIXES):
            for ending in (suffix, suffix.upper()):
                if (folder / (plain.stem + ending)).is_file():
                    return str(folder / (plain.stem + ending))
    return None


def picture_folders(annotation: Path, *names: str) -> list[Path]:
    """Where the pictures of an annotation file or folder may lie: with it, beside it, or one folder further up."""
    home = annotation if annotation.is_dir() else annotation.parent
    usual = ("images", "JPEGImages", *names)
    folders = [home]
    for above in (home, home.parent, home.parent.parent):
        folders += [above / name for name in usual]
    return [folder for folder in folders if folder.is_dir()]
