"""Every image and mask of a data set, looked at once before it is trusted."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.data.findings import Finding
from convatlas.data.hashes import hash_pixels
from convatlas.data.segmentation.pairing import NO_IMAGE
from convatlas.data.segmentation.splits import MaskSplit, TurnedError
from convatlas.data.splits import problem_of
from convatlas.data.store import Progress, threads
from convatlas.errors import ConvatlasError
from convatlas.records import VOID, Problem

HARMFUL = ("refused", "damaged", "turned", "no mask", "no image", "leak")
MEANING: Mapping[str, str] = {
    "refused": "training refuses the data with this sentence",
    "damaged": "an image or mask that can't be used, or the two differ in size; training leaves the image out",
    "turned": "EXIF turns the image and perhaps not what is drawn on it; training leaves the image out",
    "no mask": "an image without one, or with several that could be its; training leaves it out",
    "no image": "a mask whose image is not there; training passes over it",
    "leak": "the same pixels in two splits",
    "assumed": "what nothing says, and what is taken for it",
    "turned, as drawn": "EXIF turns the image, and the mask's size says that it was drawn on what is shown; it is used",
    "all void": "a mask in which nothing is marked; training learns nothing from it",
    "unused class": "a class without a pixel in a part",
}
_TASK = 32  # images a thread takes at once


@dataclass(frozen=True)
class CheckedMasks:
    """All that was found."""

    classes: tuple[str, ...]
    images: Mapping[str, int]  # whole ones, by part
    pixels: Mapping[str, tuple[int, ...]]  # of each class, by part
    present: Mapping[str, tuple[int, ...]]  # images with the class, by part
    void: Mapping[str, float]  # share of all pixels, by part
    sizes: Mapping[str, int]  # "360 x 480" -> images, the most frequent first
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def harmful(self) -> int:
        """Findings that make training wrong, or smaller than it seems."""
        return sum(finding.kind in HARMFUL for finding in self.findings)


@dataclass(frozen=True)
class _Looked:
    index: int
    problem: Finding | None
    counts: Tensor  # (K,) int64
    void: int
    size: tuple[int, int]
    digest: bytes
    orientation: int = 1


def check_masks(
    parts: Mapping[str, MaskSplit],
    classes: tuple[str, ...],
    *,
    refusal: str | None = None,
    on_progress: Progress | None = None,
    on_image: Callable[[Tensor, Tensor], None] | None = None,
    notes: Sequence[Finding] = (),
) -> CheckedMasks:
    """Reads every image with its mask, in threads.

    Args:
        parts: by name, "train" first.
        refusal: the sentence with which training refuses the data, if it does.
        on_progress: called with (images done, images).
        on_image: called with the image, uint8 (C, H, W), and the mask of the first whole ones.
        notes: what is known already.

    Raises:
        ConvatlasError: none of the images can be used.
    """
    started, total, done = time.perf_counter(), sum(map(len, parts.values())), 0
    images: dict[str, int] = {}
    pixels: dict[str, tuple[int, ...]] = {}
    present: dict[str, tuple[int, ...]] = {}
    void: dict[str, float] = {}
    sizes: dict[tuple[int, int], int] = {}
    seen: dict[bytes, tuple[str, str]] = {}
    findings: list[Finding] = [*notes, *([] if refusal is None else [Finding("refused", "the data", refusal)])]
    for part, split in parts.items():
        findings += [Finding(_kind(problem), problem.path, problem.reason) for problem in split.problems]
        counts, found, empty, whole = torch.zeros(2, len(classes), dtype=torch.int64), 0, 0, 0
        for looked in _look(split, len(classes), on_image):
            done += 1
            if on_progress is not None:
                on_progress(done, total)
            name = split.name(looked.index)
            if looked.problem is not None:
                findings.append(looked.problem)
                continue
            whole += 1
            if looked.orientation != 1:
                findings.append(Finding("turned, as drawn", name, f"EXIF orientation {looked.orientation}"))
            counts += torch.stack((looked.counts, (looked.counts > 0).long()))
            found, empty = found + int(looked.counts.sum()), empty + looked.void
            sizes[looked.size] = sizes.get(looked.size, 0) + 1
            if not looked.counts.any():
                findings.append(Finding("all void", name, f"{looked.void:,} pixels of void"))
            first, where = seen.setdefault(looked.digest, (part, name))
            if first != part:
                findings.append(Finding("leak", name, f"the same pixels as {where} in {first}"))
        images[part], pixels[part], present[part] = whole, tuple(counts[0].tolist()), tuple(counts[1].tolist())
        void[part] = empty / max(found + empty, 1)
        for label, count in enumerate(pixels[part]):
            if count == 0:
                findings.append(Finding("unused class", classes[label], f"no pixel in {part}"))
    if not sizes:
        first = f"; the first is {findings[0].path}: {findings[0].detail}" if findings else ""
        raise ConvatlasError(f"none of {total} images can be used{first}")
    ordered = sorted(sizes.items(), key=lambda entry: -entry[1])
    shown = {f"{height} x {width}": count for (height, width), count in ordered}
    seconds = time.perf_counter() - started
    return CheckedMasks(classes, images, pixels, present, void, shown, tuple(findings), seconds)


def _look(split: MaskSplit, num_classes: int, on_image: Callable[[Tensor, Tensor], None] | None) -> Iterator[_Looked]:
    def look(index: int) -> _Looked:
        nothing = torch.zeros(num_classes, dtype=torch.int64)
        try:
            image, mask, orientation = split.read_turned(index)
        except ConvatlasError as error:
            name, kind = split.name(index), "turned" if isinstance(error, TurnedError) else "damaged"
            found = Finding(kind, name, problem_of(name, error).reason)
            return _Looked(index, found, nothing, 0, (0, 0), b"")
        if on_image is not None:
            on_image(image, mask)
        counts = torch.bincount(mask[mask != VOID].long(), minlength=num_classes)
        size = (mask.shape[0], mask.shape[1])
        return _Looked(index, None, counts, int((mask == VOID).sum()), size, hash_pixels(image.numpy()), orientation)

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        for start in range(0, len(split), _TASK):  # no more images in memory than these
            yield from pool.map(look, range(start, min(start + _TASK, len(split))))


def _kind(problem: Problem) -> str:
    return "no image" if problem.reason == NO_IMAGE else "no mask"
