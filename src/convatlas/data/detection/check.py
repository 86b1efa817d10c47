"""Every picture and box of a data set, looked at once before it is trusted."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.data.detection.annotations import Fault
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.store import Progress, threads
from convatlas.structures import ConvatlasError, Objects

HARMFUL = (
    "damaged", "empty", "reversed", "outside", "not a number", "unknown class", "no picture", "no annotation", "leak",
)  # fmt: skip
MEANING: Mapping[str, str] = {
    "damaged": "a picture or an annotation that can't be used; training skips it",
    "no picture": "an annotation whose picture is not there; training skips it",
    "no annotation": "a listed picture that nothing is known of; training skips it",
    "empty": "a box without width or height; training leaves it out",
    "reversed": "a box whose left is right of its right, or its top below its bottom; training leaves it out",
    "outside": "a box that does not touch its picture; training leaves it out",
    "not a number": "a box with a side that is no finite number; training leaves it out",
    "unknown class": "an object of a class that is not among those listed; training leaves it out",
    "leak": "the same pixels in two parts",
    "sticks out": "a box that reaches beyond its picture by more than a pixel; it is cut",
    "marked twice": "two boxes of one class that are almost the same",
    "nothing marked": "a picture without objects; training takes it as background",
}
_SAME = 0.95  # overlap of two boxes of one object
_TASK = 32  # pictures a thread takes at once


@dataclass(frozen=True)
class Finding:
    """Something to be looked at."""

    kind: str  # of `MEANING`
    path: str
    detail: str


class BoxSizes(NamedTuple):
    """Smallest, median and largest, in pixels; None without objects."""

    width: tuple[float, float, float] | None
    height: tuple[float, float, float] | None
    share: tuple[float, float, float] | None  # of the picture's area


@dataclass(frozen=True)
class CheckedBoxes:
    """All that was found; of box sizes and objects a picture those of all parts together."""

    pictures: Mapping[str, int]  # whole ones, by part
    counts: Mapping[str, tuple[int, ...]]  # objects of each class, by part
    difficult: tuple[int, ...]  # of each class
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    sizes: tuple[BoxSizes, ...]  # of each class
    objects_a_picture: tuple[float, float, float]  # fewest, median, most
    short_side: tuple[float, float, float]  # of the pictures
    long_side: tuple[float, float, float]
    seconds: float

    @property
    def harmful(self) -> int:
        """Findings that make training wrong, or smaller than it seems."""
        return sum(finding.kind in HARMFUL for finding in self.findings)


def check_boxes(
    parts: Mapping[str, DetectionSplit],
    classes: Sequence[str],
    *,
    on_progress: Progress | None = None,
    on_picture: Callable[[str, int, Tensor, Objects], None] | None = None,
) -> CheckedBoxes:
    """Reads every picture of the parts in parallel and looks at every box.

    Args:
        parts: by name; "trainval" is passed over where "train" and "val" are there.
        classes: their names, in the order of the labels.
        on_progress: called with (done, total).
        on_picture: called with part, index, pixels uint8 (C, H, W) and objects of each whole picture.

    Raises:
        ConvatlasError: none of the pictures can be read.
    """
    started = time.perf_counter()
    parts = {name: split for name, split in parts.items() if name != "trainval" or not {"train", "val"} <= set(parts)}
    findings = [
        Finding(problem.kind if isinstance(problem, Fault) else "damaged", problem.path, problem.reason)
        for split in parts.values()
        for problem in split.problems
    ]
    first: dict[bytes, tuple[str, str]] = {}  # pixels -> part and name
    whole: dict[str, list[int]] = {part: [] for part in parts}
    total, done = sum(map(len, parts.values())), 0
    for part, index, found in _read(parts):
        done += 1
        if on_progress is not None:
            on_progress(done, total)
        split = parts[part]
        if isinstance(found, str):
            findings.append(Finding("damaged", split.name(index), found))
            continue
        image, objects = found
        whole[part].append(index)
        findings += _looked_at(split, index, objects)
        digest = hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()
        where, other = first.setdefault(digest, (part, split.name(index)))
        if where != part:
            findings.append(Finding("leak", split.name(index), f"the same as {other} ({where})"))
        if on_picture is not None:
            on_picture(part, index, image, objects)
    if not any(whole.values()):
        named = f"; the first is {findings[0].path}: {findings[0].detail}" if findings else ""
        raise ConvatlasError(f"none of {total} pictures can be read{named}")
    order = list(MEANING)
    findings.sort(key=lambda finding: (order.index(finding.kind), finding.path))
    return _summary(parts, whole, tuple(classes), tuple(findings), time.perf_counter() - started)


def _read(parts: Mapping[str, DetectionSplit]) -> Iterator[tuple[str, int, tuple[Tensor, Objects] | str]]:
    """Part, index, and the picture with its objects, or why it can't be read; in the parts' order."""

    def one(wanted: tuple[str, int]) -> tuple[str, int, tuple[Tensor, Objects] | str]:
        part, index = wanted
        try:
            return part, index, parts[part].read(index)
        except ConvatlasError as error:
            return part, index, str(error.__cause__ or error)

    wanted = [(part, index) for part, split in parts.items() for index in range(len(split))]
    with ThreadPoolExecutor(threads()) as pool:
        for start in range(0, len(wanted), _TASK):  # no more pictures in memory than these
            yield from pool.map(one, wanted[start : start + _TASK])


def _looked_at(split: DetectionSplit, index: int, objects: Objects) -> Iterator[Finding]:
    from torchvision.ops import box_iou

    name = split.name(index)
    yield from (Finding("sticks out", name, detail) for detail in split.pages[index].clipped)
    if len(objects.labels) == 0:
        yield Finding("nothing marked", name, "no object")
        return
    same = (box_iou(objects.boxes, objects.boxes) >= _SAME) & (objects.labels[:, None] == objects.labels)
    for one, other in same.triu(1).nonzero().tolist():
        yield Finding("marked twice", name, f"objects {one + 1} and {other + 1}, box {_told(objects.boxes[one])}")


def _told(box: Tensor) -> str:
    return ", ".join(f"{side:g}" for side in box.tolist())


def _summary(
    parts: Mapping[str, DetectionSplit], whole: Mapping[str, Sequence[int]], classes: tuple[str, ...],
    findings: tuple[Finding, ...], seconds: float,
) -> CheckedBoxes:  # fmt: skip
    pages = {part: [parts[part].pages[index] for index in indices] for part, indices in whole.items()}
    every = [page for found in pages.values() for page in found]
    labels, boxes = torch.cat([page.labels for page in every]), torch.cat([page.boxes for page in every])
    difficult = torch.cat([page.difficult for page in every])
    areas = torch.cat([torch.full((len(page.labels),), float(page.size[0] * page.size[1])) for page in every])
    sides = boxes[:, 2:] - boxes[:, :2]
    share = sides.prod(1) / areas
    k = len(classes)
    counts = {
        part: tuple(torch.bincount(torch.cat([page.labels for page in found]), minlength=k).tolist())
        if found
        else (0,) * k
        for part, found in pages.items()
    }
    sizes = tuple(
        BoxSizes(*(_range(values[own]) if own.any() else None for values in (sides[:, 0], sides[:, 1], share)))
        for own in (labels == label for label in range(k))
    )
    extents = torch.tensor([sorted(page.size) for page in every])
    many = _range(torch.tensor([len(page.labels) for page in every]))
    short, long = _range(extents[:, 0]), _range(extents[:, 1])
    return CheckedBoxes(
        {part: len(found) for part, found in pages.items()},
        counts,
        tuple(torch.bincount(labels[difficult], minlength=k).tolist()),
        classes,
        findings,
        sizes,
        many,
        short,
        long,
        seconds,
    )


def _range(values: Tensor) -> tuple[float, float, float]:
    low, middle, high = (float(f"{end.item():.4g}") for end in (values.min(), values.median(), values.max()))
    return low, middle, high
