"""Every picture and mask of a data set, looked at once before it is trusted."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.data.dense.splits import MaskSplit
from convatlas.data.store import Progress, threads
from convatlas.structures import VOID, ConvatlasError

HARMFUL = ("damaged", "no mask", "leak")
MEANING: Mapping[str, str] = {
    "damaged": "a picture or mask that can't be read, or the two differ in size; training skips it",
    "no mask": "a picture without one; training passes over it",
    "leak": "the same pixels in two parts",
    "all void": "a mask in which nothing is marked; training learns nothing from it",
    "unused class": "a class without a pixel in a part",
}


@dataclass(frozen=True)
class Finding:
    """Something to be looked at."""

    kind: str  # of `MEANING`
    path: str
    detail: str


@dataclass(frozen=True)
class CheckedMasks:
    """All that was found."""

    classes: tuple[str, ...]
    pictures: Mapping[str, int]  # whole ones, by part
    pixels: Mapping[str, tuple[int, ...]]  # of each class, by part
    present: Mapping[str, tuple[int, ...]]  # pictures with the class, by part
    void: Mapping[str, float]  # share of all pixels, by part
    sizes: Mapping[str, int]  # "360 x 480" -> pictures, the most frequent first
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def harmful(self) -> bool:
        return any(finding.kind in HARMFUL for finding in self.findings)


@dataclass(frozen=True)
class _Looked:
    index: int
    problem: str | None
    counts: Tensor  # (K,) int64
    void: int
    size: tuple[int, int]
    digest: bytes


def check_masks(
    parts: Mapping[str, MaskSplit],
    classes: tuple[str, ...],
    *,
    on_progress: Progress | None = None,
    on_picture: Callable[[Tensor, Tensor], None] | None = None,
) -> CheckedMasks:
    """Reads every picture with its mask, in threads.

    Args:
        parts: by name, "train" first.
        on_progress: called with (pictures done, pictures).
        on_picture: called with the picture, uint8 (C, H, W), and the mask of the first whole ones.
    """
    started, total, done = time.perf_counter(), sum(map(len, parts.values())), 0
    pictures: dict[str, int] = {}
    pixels: dict[str, tuple[int, ...]] = {}
    present: dict[str, tuple[int, ...]] = {}
    void: dict[str, float] = {}
    sizes: dict[tuple[int, int], int] = {}
    seen: dict[bytes, tuple[str, str]] = {}
    findings: list[Finding] = []
    for part, split in parts.items():
        findings += [Finding("no mask", problem.path, problem.reason) for problem in split.problems]
        counts, found, empty, whole = torch.zeros(2, len(classes), dtype=torch.int64), 0, 0, 0
        for looked in _look(split, len(classes), on_picture):
            done += 1
            if on_progress is not None:
                on_progress(done, total)
            name = split.name(looked.index)
            if looked.problem is not None:
                findings.append(Finding("damaged", name, looked.problem))
                continue
            whole += 1
            counts += torch.stack((looked.counts, (looked.counts > 0).long()))
            found, empty = found + int(looked.counts.sum()), empty + looked.void
            sizes[looked.size] = sizes.get(looked.size, 0) + 1
            if not looked.counts.any():
                findings.append(Finding("all void", name, f"{looked.void:,} pixels of void"))
            first, where = seen.setdefault(looked.digest, (part, name))
            if first != part:
                findings.append(Finding("leak", name, f"the same pixels as {where} in {first}"))
        pictures[part], pixels[part], present[part] = whole, tuple(counts[0].tolist()), tuple(counts[1].tolist())
        void[part] = empty / max(found + empty, 1)
        for label, count in enumerate(pixels[part]):
            if count == 0:
                findings.append(Finding("unused class", classes[label], f"no pixel in {part}"))
    ordered = sorted(sizes.items(), key=lambda entry: -entry[1])
    shown = {f"{height} x {width}": count for (height, width), count in ordered}
    seconds = time.perf_counter() - started
    return CheckedMasks(classes, pictures, pixels, present, void, shown, tuple(findings), seconds)


def _look(split: MaskSplit, num_classes: int, on_picture: Callable[[Tensor, Tensor], None] | None) -> Iterator[_Looked]:
    def one(index: int) -> _Looked:
        nothing = torch.zeros(num_classes, dtype=torch.int64)
        try:
            image, mask = split.read_pair(index)
        except ConvatlasError as error:
            return _Looked(index, str(error).removeprefix(f"{split.name(index)}: "), nothing, 0, (0, 0), b"")
        if on_picture is not None:
            on_picture(image, mask)
        counts = torch.bincount(mask[mask != VOID].long(), minlength=num_classes)
        digest = hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=16).digest()
        return _Looked(index, None, counts, int((mask == VOID).sum()), (mask.shape[0], mask.shape[1]), digest)

    with ThreadPoolExecutor(max_workers=threads()) as pool:
        yield from pool.map(one, range(len(split)))
