"""Every image of a source, read once: which are damaged, misnamed, doubled or of an odd size; counts and colours."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np

from convatlas.data.bit_depth import range_of
from convatlas.data.decode import inspect, jpeg_complaint
from convatlas.data.encoded import EncodedSplit
from convatlas.data.findings import HARMFUL, MEANING, Finding, find_similar_names, finding_of
from convatlas.data.hashes import hash_pixels
from convatlas.data.leaks import Thumbnails, find_leaks
from convatlas.data.splits import Split
from convatlas.data.store import Progress, threads
from convatlas.errors import ConvatlasError

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"), "MPO": (".jpg", ".jpeg"), "PNG": (".png", ".apng"), "GIF": (".gif",),
    "BMP": (".bmp", ".dib"), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",), "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpf", ".jpx"), "HEIF": (".heic", ".heif"),
}  # fmt: skip
_VALUES = re.compile(r"^16-bit .* with values up to ([\d,]+):")
_TASK = 32  # images a thread takes at once
_AREAS, _ASPECTS = 16, 4

__all__ = ["HARMFUL", "MEANING", "Checked", "Facts", "Finding", "check"]


class Facts(NamedTuple):
    """What one image is like."""

    part: str
    place: int  # in its part
    label: int
    height: int
    width: int
    format: str  # Pillow's name, "" for arrays
    notes: tuple[str, ...]  # what was converted, of several frames
    complaint: str | None  # of the decoder
    digest: bytes  # of the decoded pixels
    mean: tuple[float, ...]  # of each channel, in [0, 1]
    square: tuple[float, ...]  # mean of the squares


@dataclass(frozen=True)
class Checked:
    """All that was found. Statistics are of the training part, and every image counts the same, whatever its size."""

    counts: Mapping[str, tuple[int, ...]]  # whole images of each class, by part
    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    short_side: tuple[int, int, int]  # smallest, median, largest
    long_side: tuple[int, int, int]
    formats: Mapping[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seconds: float

    @property
    def harmful(self) -> int:
        """Findings that make training wrong, or smaller than it seems."""
        return sum(finding.kind in HARMFUL for finding in self.findings)


def check(
    parts: Mapping[str, Split],
    classes: Sequence[str],
    *,
    refusal: str | None = None,
    on_progress: Progress | None = None,
    on_image: Callable[[str, int, np.ndarray], None] | None = None,
) -> Checked:
    """Reads every image of the parts in parallel.

    Args:
        parts: by name; the first is for training.
        classes: their names, in the order of the labels.
        refusal: the sentence with which training refuses the data, if it does.
        on_progress: called with (done, total).
        on_image: called with part, index and pixels (H, W, C) of each whole image, in any order.

    Raises:
        ConvatlasError: none of the images can be decoded.
    """
    started = time.perf_counter()
    facts: list[Facts] = []
    findings = [finding_of(problem) for split in parts.values() for problem in split.problems]
    findings += [Finding("similar names", name, f"and {other!r}") for other, name in find_similar_names(classes)]
    if refusal is not None:
        findings.append(Finding("refused", "the data", refusal))
    thumbnails = {part: Thumbnails.for_images(len(split)) for part, split in parts.items()}

    def take(part: str, index: int, pixels: np.ndarray) -> None:
        thumbnails[part].take(index, pixels)
        if on_image is not None:
            on_image(part, index, pixels)

    for found in _survey(parts, on_progress, take):
        if isinstance(found, Finding):
            findings.append(found)
        else:
            facts.append(found)
    if not facts:
        raise ConvatlasError(f"none of {len(findings)} images can be decoded; the first is {findings[0].path}")
    for one in facts:
        findings += _looked_at(one, parts[one.part].name(one.place))
    findings += _odd_sizes(facts, parts)
    findings += _mixed_depths(facts, parts)
    findings += _doubles(facts, parts, classes)
    findings += _near_leaks(facts, thumbnails, parts)
    order = list(MEANING)
    sides = [sorted((one.height, one.width)) for one in facts]
    mean, std = _statistics([one for one in facts if one.part == next(iter(parts))] or facts)
    return Checked(
        {part: tuple(Counter(o.label for o in facts if o.part == part)[k] for k in range(len(classes)))
         for part in parts},
        tuple(classes),
        tuple(sorted(findings, key=lambda finding: order.index(finding.kind))),
        _range([short for short, _ in sides]),
        _range([long for _, long in sides]),
        dict(Counter(one.format for one in facts if one.format)),
        mean,
        std,
        time.perf_counter() - started,
    )  # fmt: skip


def _survey(
    parts: Mapping[str, Split],
    on_progress: Progress | None,
    on_image: Callable[[str, int, np.ndarray], None],
) -> Iterator[Facts | Finding]:
    places = [(part, index) for part, split in parts.items() for index in range(len(split))]

    def work(first: int) -> list[Facts | Finding]:
        results: list[Facts | Finding] = []
        for part, index in places[first : first + _TASK]:
            try:
                found, pixels = _read(parts[part], part, index)
            except ConvatlasError as error:
                results.append(_unreadable(parts[part].name(index), str(error)))
                continue
            results.append(found)
            on_image(part, index, pixels)
        return results

    starts = range(0, len(places), _TASK)
    pool = ThreadPoolExecutor(threads())  # decoding, hashing and adding up release the interpreter's lock
    try:
        for first, results in zip(starts, pool.map(work, starts), strict=True):
            yield from results
            if on_progress is not None:
                on_progress(min(first + _TASK, len(places)), len(places))
    finally:
        pool.shutdown(cancel_futures=True)


def _read(split: Split, part: str, index: int) -> tuple[Facts, np.ndarray]:
    kind, notes, complaint = "", (), None
    if isinstance(split, EncodedSplit):
        try:
            content = split.encoded(index)
        except OSError as error:
            raise ConvatlasError(error.strerror or str(error)) from error
        decoded = inspect(content, white=split.white)
        image, kind, notes = decoded.pixels, decoded.format, decoded.notes
        complaint = jpeg_complaint(content)
    else:
        image = split.read(index)
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    height, width = pixels.shape[:2]
    means, deviations = (values[:, 0] / 255 for values in cv2.meanStdDev(pixels))
    squares = tuple((means**2 + deviations**2).tolist())
    label = int(split.labels[index])
    return Facts(
        part, index, label, height, width, kind, notes, complaint, hash_pixels(pixels), tuple(means.tolist()), squares
    ), pixels


def _unreadable(name: str, reason: str) -> Finding:
    return Finding("not an image" if reason.startswith("not an image") else "damaged", name, reason)


def _looked_at(one: Facts, name: str) -> Iterator[Finding]:
    suffix = Path(name).suffix.lower()
    fitting = _SUFFIXES.get(one.format)
    if fitting and suffix in {s for group in _SUFFIXES.values() for s in group} - set(fitting):
        yield Finding("misnamed", name, f"{one.format} by its contents, {suffix} by its name")
    if one.complaint is not None:
        yield Finding("doubtful", name, one.complaint)
    if max(square - mean**2 for mean, square in zip(one.mean, one.square, strict=True)) < 1e-9:
        yield Finding("blank", name, f"every pixel is {tuple(round(255 * value) for value in one.mean)}")
    for note in one.notes:
        yield Finding("unusual", name, note)


def _odd_sizes(facts: Sequence[Facts], parts: Mapping[str, Split]) -> Iterator[Finding]:
    area = median(one.height * one.width for one in facts)
    aspect = median(max(one.height, one.width) / min(one.height, one.width) for one in facts)
    for one in facts:
        size, ratio = one.height * one.width, max(one.height, one.width) / min(one.height, one.width)
        if not area / _AREAS < size < area * _AREAS or ratio >= aspect * _ASPECTS:
            name = parts[one.part].name(one.place)
            yield Finding("odd size", name, f"{one.width} x {one.height} pixels")


def _mixed_depths(facts: Sequence[Facts], parts: Mapping[str, Split]) -> Iterator[Finding]:
    """16-bit images whose values alone would tell another range than most others do."""
    largest = {
        id(one): int(match[1].replace(",", ""))
        for one in facts
        for note in one.notes
        if (match := _VALUES.search(note))
    }
    counts = Counter(map(range_of, largest.values()))
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    for one in facts:
        value = largest.get(id(one), usual)
        if range_of(value) != usual:
            name = parts[one.part].name(one.place)
            yield Finding("mixed depth", name, f"values up to {value:,}; those of most images stand in 0 to {usual:,}")


def _near_leaks(
    facts: Sequence[Facts], thumbnails: Mapping[str, Thumbnails], parts: Mapping[str, Split]
) -> Iterator[Finding]:
    """Without those whose pixels are the same, which are leaks or conflicts already."""
    digests = {(one.part, one.place): one.digest for one in facts}
    for pair in find_leaks(thumbnails):
        if digests[pair.part, pair.index] != digests[pair.other_part, pair.other_index]:
            other = parts[pair.other_part].name(pair.other_index)
            detail = f"{pair.how} {other} ({pair.other_part})"
            yield Finding("near leak", parts[pair.part].name(pair.index), detail)


def _doubles(facts: Sequence[Facts], parts: Mapping[str, Split], classes: Sequence[str]) -> Iterator[Finding]:
    """Each image against the first with its pixels."""
    first: dict[bytes, Facts] = {}
    for one in facts:
        other = first.setdefault(one.digest, one)
        if other is one:
            continue
        kind = "conflict" if one.label != other.label else "leak" if one.part != other.part else "duplicate"
        where = f" ({other.part})" if one.part != other.part else ""
        labels = f", {classes[one.label]} here and {classes[other.label]} there" if kind == "conflict" else ""
        same = f"the same as {parts[other.part].name(other.place)}{where}{labels}"
        yield Finding(kind, parts[one.part].name(one.place), same)


def _statistics(facts: Sequence[Facts]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std by channel in [0, 1], to 4 digits; grey images count for all three where others have colour."""
    channels = max(len(one.mean) for one in facts)
    mean, square = (
        np.mean([np.broadcast_to(np.asarray(getattr(one, name)), channels) for one in facts], axis=0)
        for name in ("mean", "square")
    )
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(std, 4).tolist())


def _range(values: Sequence[int]) -> tuple[int, int, int]:
    return min(values), int(median(values)), max(values)
