"""Classes told from the values of masks, where nothing names them; what can't be told is refused, never guessed."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from convatlas.data.segmentation.classes import MAX_CLASSES, MaskClasses, alike, voc_colours
from convatlas.data.segmentation.reading import MaskFile, read_mask
from convatlas.data.segmentation.seams import Meetings
from convatlas.data.store import threads
from convatlas.errors import ConvatlasError
from convatlas.records import VOID

LOOKED_AT = 1000  # masks, evenly spaced, whose values tell the classes
_CAMVID_NAMES = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+")  # of the images of its four sequences
_SEAMS_OF = 200  # masks whose borders are looked at
_FEW = 0.1  # part of the masks; a value in no more of them may be a stray
_EDGES = 2  # values that only ever lie along borders, from which on they are taken for a smooth resizing's
_TABLE = "write classes.csv with columns value, name (void for pixels to leave out) and perhaps colour"


@dataclass(frozen=True)
class Survey:
    """What is in the masks that can be read."""

    files: tuple[str, ...]
    values: tuple[frozenset[int], ...]  # of each file
    solid: frozenset[int]  # values that fill a square of 3 x 3 pixels somewhere
    first_reason: str | None  # why the first of the others can't be read
    has_bilevel: bool
    meetings: Meetings  # of the first masks

    def holding(self, value: int) -> list[str]:
        return [file for file, values in zip(self.files, self.values, strict=True) if value in values]


def is_camvid(images: Iterable[str]) -> bool:
    """Whether all images are called as CamVid's four sequences call theirs."""
    names = [Path(image).stem for image in images]
    return bool(names) and all(_CAMVID_NAMES.match(name) for name in names)


def refuse_palettes(masks: Sequence[str]) -> None:
    """Refuses masks whose palettes contradict each other: then their numbers do not mean the same in every file.

    Raises:
        ConvatlasError: the message names two files.
    """
    first: dict[int, tuple[tuple[int, ...], str]] = {}
    for file, mask in _read_all(masks):
        if isinstance(mask, str) or mask.palette is None:
            continue
        for index in np.unique(mask.pixels).tolist():
            colour = tuple(mask.palette[index].tolist())
            if colour == (index, index, index):
                continue  # a palette of greys says nothing
            other, where = first.setdefault(index, (colour, file))
            if other != colour:
                raise ConvatlasError(
                    f"the palettes of the masks differ: value {index} is #{bytes(other).hex()} in {where} and "
                    f"#{bytes(colour).hex()} in {file}; write classes.csv with columns value, name and colour, so that "
                    f"colours decide"
                )


def tell_classes(path: Path, masks: Sequence[str]) -> tuple[MaskClasses, tuple[str, ...]]:
    """The classes that the values of the masks are, and what should be known about that.

    Values 0 to K - 1 are classes and 255 beside them is void; masks of two values, 0 and another, are of two classes. A
    value in few masks that fits neither is left to be named when its mask is read.

    Raises:
        ConvatlasError: the values are none of these, and nothing says what they mean; the message gives the remedy.
    """
    survey = _survey(path, masks)
    every = frozenset[int]().union(*survey.values)
    if len(every) < 2:
        _refuse_few(path, every, survey)
    kept = _classes(every, survey)
    if kept is None:
        limit = max(1, int(len(survey.files) * _FEW))
        rare = {value for value in every if len(survey.holding(value)) <= limit}
        usual = every - rare if len(survey.files) > 2 * limit else every
        kept = _classes(usual, survey) if len(usual) > 1 and usual != every else None
    if kept is None:
        _refuse(path, every, survey)
    edges = set(kept) - survey.solid
    if len(edges) >= _EDGES and 2 * len(edges) >= len(kept):
        raise ConvatlasError(
            f"the masks of {path} hold {_shown(kept)}, of which {_shown(sorted(edges))} lie along borders alone, as a "
            f"smooth resizing makes them; resize masks with nearest neighbours, or {_TABLE}"
        )
    if survey.meetings.are_smooth:
        direct, seams = survey.meetings
        raise ConvatlasError(
            f"in the masks of {path}, {seams:,} of {seams + direct:,} borders between classes whose numbers are not "
            f"neighbours, such as 0 and 2, have a seam of the numbers between, as a smooth resizing makes them; resize "
            f"masks with nearest neighbours, or, if the seams are objects, {_TABLE}"
        )
    void = () if VOID in kept else (VOID,)
    classes = MaskClasses(tuple(map(str, kept)), voc_colours(len(kept)), tuple(kept), void)
    return classes, tuple(_doubts(kept, every))


def _doubts(kept: Sequence[int], every: frozenset[int]) -> Iterable[str]:
    if tuple(kept) == tuple(range(12)):
        yield f"12 values, 0 to 11, all taken for classes; if these are CamVid's, 11 is void: {_TABLE}"
    lost = sorted(set(kept) - every)
    if lost:
        yield f"no pixel of {_shown(lost)}, which is taken for a rare class since {max(kept)} occurs"


def _classes(values: frozenset[int], survey: Survey) -> list[int] | None:
    """The values that are classes, or None where that can't be told."""
    if values == {0, VOID} or (len(values) == 2 and 0 in values and VOID not in values):
        return sorted(values)
    plain = sorted(values - {VOID})
    if len(plain) < 2 or plain[-1] >= MAX_CLASSES or 2 * len(plain) < plain[-1] + 1:
        return None
    if (
        VOID in values
        and plain == [0, 1]
        and (survey.has_bilevel or not any({1, VOID} <= own for own in survey.values))
    ):
        return None  # some masks say 1 and others 255 for what may be the same
    if VOID in values and len(plain) == 2 and plain[1] - plain[0] > 1:
        return None
    return list(range(plain[-1] + 1)) if plain[0] == 0 else plain


def _survey(path: Path, masks: Sequence[str]) -> Survey:
    files, values, reason = [], [], None
    solid: set[int] = set()
    has_bilevel, meetings = False, Meetings()
    for file, mask in _read_all(masks):
        if isinstance(mask, str):
            reason = reason or f"{file}: {mask}"
            continue
        numbers = mask.pixels
        if numbers.ndim == 3:
            if not alike(numbers):
                raise ConvatlasError(
                    f"{file} holds colours; expected {path / 'classes.csv'} with columns value, name, colour"
                )
            numbers = numbers[..., 0]
        files.append(file)
        values.append(frozenset(np.unique(numbers).tolist()))
        solid |= _solid(numbers)
        if len(files) <= _SEAMS_OF and len(values[-1]) > 2:
            meetings = meetings.plus(Meetings.of(numbers))
        has_bilevel |= mask.is_bilevel
    return Survey(tuple(files), tuple(values), frozenset(solid), reason, has_bilevel, meetings)


def _read_all(masks: Sequence[str]) -> Iterable[tuple[str, MaskFile | str]]:
    """Evenly spaced masks, or why one can't be read."""

    def read(file: str) -> MaskFile | str:
        try:
            return read_mask(file)
        except ConvatlasError as error:
            return str(error)

    chosen = [masks[place * len(masks) // LOOKED_AT] for place in range(LOOKED_AT)] if len(masks) > LOOKED_AT else masks
    with ThreadPoolExecutor(threads()) as pool:
        for start in range(0, len(chosen), 32):  # no more masks in memory than these
            some = chosen[start : start + 32]
            yield from zip(some, pool.map(read, some), strict=True)


def _solid(numbers: np.ndarray) -> set[int]:
    """Values that fill 3 x 3 pixels somewhere, or are in a mask too narrow for that."""
    if min(numbers.shape) < 3:
        return set(np.unique(numbers).tolist())
    inner = numbers[1:-1, 1:-1]
    same = np.ones(inner.shape, dtype=bool)
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            same &= numbers[down : down + inner.shape[0], right : right + inner.shape[1]] == inner
    return set(np.unique(inner[same]).tolist())


def _refuse_few(path: Path, every: frozenset[int], survey: Survey) -> NoReturn:
    first = f"; the first problem: {survey.first_reason}" if survey.first_reason else ""
    if not survey.files:
        raise ConvatlasError(f"none of the masks of {path} can be used{first}")
    raise ConvatlasError(
        f"the masks of {path} hold one value alone, {_shown(sorted(every))}; expected 2 to {MAX_CLASSES} classes{first}"
    )


def _refuse(path: Path, every: frozenset[int], survey: Survey) -> NoReturn:
    count = {value: len(survey.holding(value)) for value in every}
    rarest = min(sorted(every), key=lambda value: count[value])
    where = f"{rarest} is in {count[rarest]} of {len(survey.files)} masks, as in {survey.holding(rarest)[0]}"
    bilevel = ", some of one bit a pixel" if survey.has_bilevel else ""
    raise ConvatlasError(
        f"the masks of {path} hold the values {_shown(sorted(every))}{bilevel}, which are neither 0 to K - 1 (and 255 "
        f"for void) nor two values; {where}. Save masks as PNG with exact values, or {_TABLE}"
    )


def _shown(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:10])) + (f" and {len(values) - 10} more" if len(values) > 10 else "")
