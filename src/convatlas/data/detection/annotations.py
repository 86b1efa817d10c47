"""What readers find in annotation files, and which images of it can be used: those whose every object marks something.

An image with an object that can't be used is left out whole, since what the object marks would train as background.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from convatlas.data.decode import upright_size
from convatlas.data.detection.segments import find_fault
from convatlas.errors import ConvatlasError
from convatlas.records import Problem

FaultKind = Literal[
    "empty", "reversed", "outside", "not a number", "units", "unknown class", "bad object", "bad mask", "no image",
    "no annotation", "damaged", "turned", "leak", "two entries", "two names", "assumed",
]  # fmt: skip

PARTS = {  # as data.yaml and Darknet's lists call the splits
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
NOTES: tuple[FaultKind, ...] = ("two entries", "two names", "assumed")  # nothing is left out for them
MAX_SIDE = 1_000_000  # pixels that an annotation may say of an image


@dataclass(frozen=True)
class Fault(Problem):
    """An object or an image that is left out, or something about it to be known, and why."""

    kind: FaultKind = "damaged"


class Drawn(NamedTuple):
    """An object as its file gives it."""

    name: str  # of its class
    box: tuple[float, float, float, float]  # x1, y1, x2, y2, pixel edges
    difficult: bool = False
    segments: Any = None  # COCO's polygons or run lengths


class Page(NamedTuple):
    """An image and what its annotation says of it."""

    path: str
    size: tuple[int, int] | None  # H, W as annotated
    objects: list[Drawn]
    source: str  # the annotation's file, for messages
    fractions: bool = False  # boxes are fractions of the image's width and height
    faults: Sequence[Fault] = ()  # objects that could not even be read: the image is left out


@dataclass(frozen=True)
class Part:
    """One split of a data set, before it is judged."""

    pages: list[Page] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class Source(NamedTuple):
    """All splits of a data set; classes are None where the source lists none and they are what occurs."""

    parts: Mapping[str, Part]
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Annotated:
    """An image's file and its objects, all of which mark something."""

    path: str
    size: tuple[int, int]  # H, W
    boxes: Tensor  # (N, 4) float32, within the image
    labels: Tensor  # (N,) int64
    difficult: Tensor  # (N,) bool
    segments: tuple[Any, ...] = ()  # one an object where masks were read, else none
    clipped: tuple[str, ...] = ()  # which boxes stuck out and were cut
    is_size_annotated: bool = False  # or else it was read from the image


class Judged(NamedTuple):
    """A split's usable images, those left out for an object, all that is left out and why, and what else to know."""

    pages: list[Annotated]
    left_out: list[str]
    faults: list[Fault]
    notes: list[Fault]


def read_size(height: object, width: object) -> tuple[int, int] | None:
    """(H, W) as an annotation gives them; None where a program left them out or wrote 0.

    Raises:
        ValueError: they are no usable numbers of pixels.
    """
    sides = []
    for side in (height, width):
        value = float(side) if isinstance(side, int | float | str) and str(side).strip() else 0.0
        if not 0 <= value <= MAX_SIDE:
            raise ValueError(f"a size of {str(width)[:20]} x {str(height)[:20]}; expected 1 to {MAX_SIDE:,} pixels")
        sides.append(int(value))
    return (sides[0], sides[1]) if min(sides) > 0 else None


def occurring(parts: Iterable[Part]) -> tuple[str, ...]:
    """The names of all objects, sorted; by value where all are whole numbers."""
    names = {drawn.name for part in parts for page in part.pages for drawn in page.objects}
    whole = all(name.isdecimal() and name.isascii() and len(name) < 19 for name in names)
    return tuple(sorted(names, key=int)) if whole else tuple(sorted(names))


def judge(part: Part, classes: Sequence[str], *, masks: bool = False) -> Judged:
    """The images whose objects can all be used, and everything that is left out. With `masks` those have to be good."""
    labels = {name: label for label, name in enumerate(classes)}
    kept, faults = [], list(part.faults)
    left_out: list[str] = []
    for page in _merge(part.pages, faults):
        try:
            size = page.size or upright_size(page.path)
        except ConvatlasError as error:
            faults.append(Fault(page.path, str(error), "damaged"))
            continue
        wrong = list(page.faults)
        annotated = _judge_page(page, size, labels, wrong, masks=masks)
        faults += wrong
        if any(fault.kind != "bad mask" or masks for fault in wrong):
            left_out.append(page.path)
        else:
            kept.append(annotated)
    noted = NOTES if masks else (*NOTES, "bad mask")
    notes = [fault for fault in faults if fault.kind in noted]
    return Judged(kept, left_out, [fault for fault in faults if fault.kind not in noted], notes)


def _merge(pages: Sequence[Page], faults: list[Fault]) -> list[Page]:
    """Each file once: entries for one file are joined, and objects that they repeat are taken once."""
    by_file: dict[str, list[Page]] = {}
    for page in pages:
        by_file.setdefault(os.path.realpath(page.path), []).append(page)
    return [entries[0] if len(entries) == 1 else _join(entries, faults) for entries in by_file.values()]


def _join(entries: list[Page], faults: list[Fault]) -> Page:
    first = entries[0]
    if len({(entry.size, entry.fractions) for entry in entries}) > 1:
        reason = f"{len(entries)} entries for one image, of different sizes or units; expected one"
        return first._replace(size=None, faults=[Fault(first.path, reason, "bad object")])
    objects: list[Drawn] = []
    repeated = 0
    for entry in entries:
        new = [drawn for drawn in entry.objects if drawn not in objects]
        repeated += len(entry.objects) - len(new)
        objects += new
    again = f", {repeated} objects that they repeat are taken once" if repeated else ""
    faults.append(Fault(first.path, f"{len(entries)} entries in {first.source}; they are merged{again}", "two entries"))
    joined = [fault for entry in entries for fault in entry.faults]
    return first._replace(objects=objects, faults=joined)


def _judge_page(
    page: Page, size: tuple[int, int], labels: Mapping[str, int], faults: list[Fault], *, masks: bool
) -> Annotated:
    height, width = size
    scale = (width, height, width, height) if page.fractions else (1.0, 1.0, 1.0, 1.0)
    boxes, own, difficult, segments, clipped = [], [], [], [], []
    for number, drawn in enumerate(page.objects, start=1):
        x1, y1, x2, y2 = (side * factor for side, factor in zip(drawn.box, scale, strict=True))
        named = f"object {number} ({drawn.name[:80]}), box {x1:g}, {y1:g}, {x2:g}, {y2:g}"
        if drawn.name not in labels:
            faults.append(Fault(page.source, f"{named}: the class is not among the {len(labels)}", "unknown class"))
            continue
        if fault := _fault((x1, y1, x2, y2), size, drawn.box, fractions=page.fractions):
            reason = _UNITS[page.fractions] if fault == "units" else f"{fault} in an image of {width} x {height} pixels"
            faults.append(Fault(page.source, f"{named}: {reason}", fault))
            continue
        if drawn.segments is not None and (reason := find_fault(drawn.segments, size)):
            faults.append(Fault(page.source, f"{named}: {reason}", "bad mask"))
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        out = max(inside[0] - x1, inside[1] - y1, x2 - inside[2], y2 - inside[3])
        if out > 1:  # what programs round and count from 0 or 1 is no mistake of a person
            clipped.append(f"{named}: {out:g} pixels out of an image of {width} x {height}")
        boxes.append(inside)
        own.append(labels[drawn.name])
        difficult.append(drawn.difficult)
        segments.append(drawn.segments if masks else None)
    return Annotated(
        page.path,
        size,
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(own, dtype=torch.int64),
        torch.tensor(difficult, dtype=torch.bool),
        tuple(segments) if any(each is not None for each in segments) else (),
        tuple(clipped),
        page.size is not None,
    )


_UNITS = {
    False: "looks like fractions, where pixels are expected; multiply by the image's width and height",
    True: "looks like pixels, where fractions of the image are expected; divide by its width and height",
}


def _fault(
    box: tuple[float, float, float, float], size: tuple[int, int], given: tuple[float, ...], *, fractions: bool
) -> FaultKind | None:
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        return "not a number"
    if fractions and max(map(abs, given)) > 2:
        return "units"
    if x2 < x1 or y2 < y1:
        return "reversed"
    if x2 == x1 or y2 == y1:
        return "empty"
    if not fractions and min(size) > 2 and 0 <= min(given) <= max(given) <= 1 and not all(map(_is_whole, given)):
        return "units"
    return "outside" if x2 <= 0 or y2 <= 0 or x1 >= size[1] or y1 >= size[0] else None


def _is_whole(value: float) -> bool:
    return float(value).is_integer()
