"""Every image and box of a data set, looked at once before it is trusted."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.data import limits
from convatlas.data.decode import exif_orientation
from convatlas.data.detection.annotations import Fault
from convatlas.data.detection.split import DetectionSplit, TurnedError
from convatlas.data.findings import Finding, find_similar_names
from convatlas.data.hashes import hash_pixels
from convatlas.data.store import Progress, threads
from convatlas.errors import ConvatlasError
from convatlas.records import Objects

HARMFUL = (
    "refused", "damaged", "turned", "empty", "reversed", "outside", "not a number", "units", "unknown class",
    "bad object", "bad mask", "no image", "no annotation", "leak",
)  # fmt: skip
MEANING: Mapping[str, str] = {
    "refused": "training refuses the data with this sentence",
    "damaged": "an image or an annotation that can't be used; training leaves the image out",
    "turned": "an image that EXIF turns, with boxes that may not be turned; training leaves the image out",
    "no image": "an annotation whose image is not there; training passes over it",
    "no annotation": "a listed image that nothing is known of; training leaves it out",
    "empty": "a box without width or height; training leaves its whole image out",
    "reversed": "a box whose left is right of its right, or top below bottom; training leaves its whole image out",
    "outside": "a box that does not touch its image; training leaves its whole image out",
    "not a number": "a box with a side that is no finite number; training leaves its whole image out",
    "units": "a box in pixels where fractions are expected, or vice versa; training leaves its whole image out",
    "unknown class": "an object of a class that is not among those listed; training leaves its whole image out",
    "bad object": "an annotation that can't be understood; training leaves its whole image out",
    "bad mask": "polygons or run lengths that can't be drawn; training on masks leaves the image out, on boxes uses it",
    "leak": "the same image in two splits; training leaves the same file out, but not its copies",
    "two entries": "an image with several entries; they are merged",
    "two names": "an annotation that two images could be meant by",
    "similar names": "classes whose names differ by capitals or blanks alone; training takes them for two",
    "assumed": "what the file does not say, and what is taken for it",
    "turned, as annotated": "an image that EXIF turns, of the size that its annotation says; it is used as shown",
    "sticks out": "a box that reaches beyond its image by more than a pixel; it is cut",
    "marked twice": "two boxes of one class that are almost the same",
    "nothing marked": "an image without objects; training takes it as background",
}
_SAME = 0.95  # overlap of two boxes of one object
_TASK = 32  # images a thread takes at once


class BoxSizes(NamedTuple):
    """Smallest, median and largest, in pixels; None without objects."""

    width: tuple[float, float, float] | None
    height: tuple[float, float, float] | None
    share: tuple[float, float, float] | None  # of the image's area


@dataclass(frozen=True)
class CheckedBoxes:
    """All that was found; of box sizes and objects an image those of all parts together."""

    images: Mapping[str, int]  # whole ones, by part
    counts: Mapping[str, tuple[int, ...]]  # objects of each class, by part
    difficult: tuple[int, ...]  # of each class
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    sizes: tuple[BoxSizes, ...]  # of each class
    objects_a_image: tuple[float, float, float]  # fewest, median, most
    short_side: tuple[float, float, float]  # of the images
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
    refusal: str | None = None,
    on_progress: Progress | None = None,
    on_image: Callable[[str, int, Tensor, Objects], None] | None = None,
) -> CheckedBoxes:
    """Reads every image of the parts in parallel and looks at every box.

    Args:
        parts: by name; "trainval" is passed over where "train" and "val" are there.
        classes: their names, in the order of the labels.
        refusal: the sentence with which training refuses the data, if it does.
        on_progress: called with (done, total).
        on_image: called with part, index, pixels uint8 (C, H, W) and objects of each whole image.

    Raises:
        ConvatlasError: none of the images can be used.
    """
    started = time.perf_counter()
    parts = {name: split for name, split in parts.items() if name != "trainval" or not {"train", "val"} <= set(parts)}
    findings = [
        Finding(problem.kind if isinstance(problem, Fault) else "damaged", problem.path, problem.reason)
        for split in parts.values()
        for problem in (*split.problems, *split.notes)
    ]
    findings += [] if refusal is None else [Finding("refused", "the data", refusal)]
    findings += [Finding("similar names", name, f"and {other!r}") for other, name in find_similar_names(classes)]
    first: dict[bytes, tuple[str, str]] = {}  # pixels -> part and name
    whole: dict[str, list[int]] = {part: [] for part in parts}
    total, done = sum(map(len, parts.values())), 0
    for part, index, found in _read(parts):
        done += 1
        if on_progress is not None:
            on_progress(done, total)
        split = parts[part]
        if isinstance(found, Finding):
            findings.append(found)
            continue
        image, objects = found
        whole[part].append(index)
        findings += _look_at(split, index, objects)
        where, other = first.setdefault(hash_pixels(image.numpy()), (part, split.name(index)))
        if where != part:
            findings.append(Finding("leak", split.name(index), f"the same as {other} ({where})"))
        if on_image is not None:
            on_image(part, index, image, objects)
    if not any(whole.values()):
        named = f"; the first is {findings[0].path}: {findings[0].detail}" if findings else ""
        left_out = sum(len(split.left_out) for split in parts.values())
        raise ConvatlasError(f"none of {total + left_out} images can be used{named}")
    order = list(MEANING)
    findings.sort(key=lambda finding: (order.index(finding.kind), finding.path))
    return _summary(parts, whole, tuple(classes), tuple(findings), time.perf_counter() - started)


def _read(parts: Mapping[str, DetectionSplit]) -> Iterator[tuple[str, int, tuple[Tensor, Objects] | Finding]]:
    """Split, index, and the image with its objects, or why it can't be used; in the splits' order."""

    def read(wanted: tuple[str, int]) -> tuple[str, int, tuple[Tensor, Objects] | Finding]:
        part, index = wanted
        split = parts[part]
        try:
            return part, index, split.read(index)
        except ConvatlasError as error:
            kind = "turned" if isinstance(error.__cause__, TurnedError) else "damaged"
            return part, index, Finding(kind, split.name(index), str(error.__cause__ or error))

    wanted = [(part, index) for part, split in parts.items() for index in range(len(split))]
    with ThreadPoolExecutor(threads()) as pool:
        for start in range(0, len(wanted), _TASK):  # no more images in memory than these
            yield from pool.map(read, wanted[start : start + _TASK])


def _look_at(split: DetectionSplit, index: int, objects: Objects) -> Iterator[Finding]:
    from torchvision.ops import box_iou

    name = split.name(index)
    yield from (Finding("sticks out", name, detail) for detail in split.pages[index].clipped)
    if (orientation := exif_orientation(limits.read_bytes(name))) != 1:
        yield Finding("turned, as annotated", name, f"EXIF orientation {orientation}")
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
