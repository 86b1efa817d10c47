"""Images of the test split that are nearly those of the training split: resized, saved again, turned or mirrored.

A perceptual hash (`hashes`) finds candidates, and a comparison of small copies decides. Images without contrast are
like none.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from convatlas.data.hashes import BANDS, LOW, SYMMETRIES, Bucket, apply_to_copies, apply_to_frequencies, hash_signs
from convatlas.data.part_names import PARTS
from convatlas.data.store import threads
from convatlas.errors import ConvatlasError

if TYPE_CHECKING:
    from convatlas.data.data_set import DataSet
from convatlas.data.splits import Split

SIDE = 32  # of the small copies
_MIN_CONTRAST = 4.0  # standard deviation of the small copy's grey levels
_MAX_DISTANCE = 12  # bits
_COPIES = 0.985  # correlation of small copies from which on two training images count as one
_CERTAIN = 0.995  # below, no third image may be nearly as much alike: digits and X-rays all resemble one another
_STANDS_OUT = 2.5  # by how much further from 1 the correlation with that third image has to be
_RIVAL = 0.94
_RESIZED = 1.2  # sides of two images that differ more are compared by what the smaller one can show
_CHEAP_IMAGES, _CHEAP_BYTES = 4_000, 100_000_000
_QUERIES, _CHUNK = 1024, 1 << 15  # hashes that are looked up, and pairs that are compared, at once


@dataclass(frozen=True)
class NearPair:
    """Two images that are nearly alike, and how the second became the first."""

    part: str
    index: int
    other_part: str
    other_index: int
    how: str  # "nearly the same as", "turned by a quarter, nearly the same as"
    correlation: float


@dataclass
class Thumbnails:
    """Small grey copies of the images of a split, as far as they were taken."""

    copies: np.ndarray  # uint8 (N, 32, 32)
    sides: np.ndarray  # int32 (N,): the shorter side of the image; 0 where it wasn't taken

    @classmethod
    def for_images(cls, count: int) -> "Thumbnails":
        """Room for the images of a split."""
        return cls(np.zeros((count, SIDE, SIDE), np.uint8), np.zeros(count, np.int32))

    def take(self, index: int, pixels: np.ndarray) -> None:
        """Keep a small copy of an image (H, W, 1 or 3) uint8."""
        small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        self.copies[index] = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        self.sides[index] = min(pixels.shape[:2])


def find_leaks(thumbnails: Mapping[str, Thumbnails]) -> list[NearPair]:
    """The images of later splits that are nearly those of an earlier one: test in train, test in val, val in train.

    Args:
        thumbnails: by split, the training split first.

    Returns:
        For each such image the most alike one, in the order of the splits and their images.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
        >>> train, test = Thumbnails.for_images(2), Thumbnails.for_images(1)
        >>> for index in range(2):
        ...     train.take(index, noise[index])
        >>> test.take(0, np.ascontiguousarray(np.rot90(noise[1])))
        >>> [(pair.index, pair.how, pair.other_index) for pair in find_leaks({"train": train, "test": test})]
        [(0, 'turned by a quarter, nearly the same as', 1)]
    """
    names = [part for part in PARTS if part in thumbnails] + [part for part in thumbnails if part not in PARTS]
    indexed = {name: _Index.of(thumbnails[name]) for name in names}
    pairs: dict[tuple[str, int], NearPair] = {}
    for place, later in enumerate(names):
        for earlier in names[:place]:
            for pair in _compare(indexed[later], indexed[earlier], later, earlier):
                best = pairs.get((later, pair.index))
                if best is None or pair.correlation > best.correlation:
                    pairs[later, pair.index] = pair
    return [pairs[key] for key in sorted(pairs, key=lambda key: (names.index(key[0]), key[1]))]


@dataclass(frozen=True)
class _Index:
    """The images of a split that have contrast: numbers, normalised copies and frequencies."""

    numbers: np.ndarray  # (n,) in the split
    copies: np.ndarray  # uint8 (n, 32, 32)
    sides: np.ndarray  # (n,)
    low: np.ndarray  # float32 (n, 8, 8), of length 1, without the mean

    @classmethod
    def of(cls, thumbnails: Thumbnails) -> "_Index":
        spread = np.zeros(len(thumbnails.copies))
        for start in range(0, len(spread), 4096):
            spread[start : start + 4096] = thumbnails.copies[start : start + 4096].std(axis=(1, 2))
        numbers = np.flatnonzero((thumbnails.sides > 0) & (spread >= _MIN_CONTRAST))
        copies = thumbnails.copies[numbers]
        basis = cv2.dct(np.eye(SIDE, dtype=np.float32), flags=cv2.DCT_ROWS).T[:LOW]  # (8, 32)
        low = np.empty((len(copies), LOW, LOW), np.float32)
        for start in range(0, len(copies), 4096):
            low[start : start + 4096] = basis @ copies[start : start + 4096].astype(np.float32) @ basis.T
        low[:, 0, 0] = 0
        low /= np.maximum(np.sqrt((low * low).sum(axis=(1, 2), keepdims=True)), 1e-6)
        return cls(numbers, copies, thumbnails.sides[numbers], low)


def _compare(later: _Index, earlier: _Index, part: str, other_part: str) -> Iterator[NearPair]:
    """The most alike image of an earlier split for those of a later one, where it stands out."""
    found = _alike(later, earlier)
    order = np.lexsort((-found.correlation, found.mine))
    for group in np.split(order, np.flatnonzero(np.diff(found.mine[order])) + 1) if len(order) else []:
        first, others = group[0], group[1:]
        best = found.correlation[first]
        rivals = others[found.theirs[others] != found.theirs[first]]
        if best < _CERTAIN and len(rivals):
            own = np.broadcast_to(earlier.copies[found.theirs[first]], (len(rivals), SIDE, SIDE))
            rivals = rivals[_correlations(own, earlier.copies[found.theirs[rivals]]) < _COPIES]  # no copies
        rival = found.correlation[rivals].max() if len(rivals) else _RIVAL
        if best >= _CERTAIN or 1 - rival >= _STANDS_OUT * (1 - best):
            mine, theirs = int(later.numbers[found.mine[first]]), int(earlier.numbers[found.theirs[first]])
            yield NearPair(part, mine, other_part, theirs, SYMMETRIES[found.symmetry[first]].how, float(best))


class _Pairs(NamedTuple):
    mine: np.ndarray  # (m,) places in the later index
    theirs: np.ndarray  # (m,) places in the earlier one
    symmetry: np.ndarray  # (m,) of `SYMMETRIES`
    correlation: np.ndarray  # (m,)


def _alike(later: _Index, earlier: _Index) -> _Pairs:
    """Pairs whose hashes have a piece in common and whose small copies are alike, at least as rivals of better ones."""
    stored = hash_signs(earlier.low)
    buckets = [Bucket.of(stored, band) for band in range(BANDS)]
    chunks = [_Pairs(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.int64, np.float32)))]
    for number, symmetry in enumerate(SYMMETRIES):
        turned = apply_to_frequencies(later.low, symmetry)
        asked = hash_signs(turned)
        for start in range(0, len(asked), _QUERIES):
            queries = asked[start : start + _QUERIES]
            seen: list[np.ndarray] = [np.zeros(0, np.int64)]
            for bucket in buckets:
                rows, columns = bucket.candidates(queries)
                near = np.bitwise_count(queries[rows] ^ stored[columns]) <= _MAX_DISTANCE
                seen.append((rows[near] + start) * len(stored) + columns[near])
            mine, theirs = np.divmod(np.unique(np.concatenate(seen)), max(len(stored), 1))
            for first in range(0, len(mine), _CHUNK):
                chunks.append(_pairs(later, earlier, turned, mine[first : first + _CHUNK],
                                     theirs[first : first + _CHUNK], number))  # fmt: skip
    return _Pairs(*(np.concatenate(values) for values in zip(*chunks, strict=True)))


def _pairs(
    later: _Index, earlier: _Index, turned: np.ndarray, mine: np.ndarray, theirs: np.ndarray, number: int
) -> _Pairs:
    smooth = (turned[mine] * earlier.low[theirs]).reshape(len(mine), LOW * LOW).sum(axis=1) >= _RIVAL
    mine, theirs = mine[smooth], theirs[smooth]
    some, others = apply_to_copies(later.copies[mine], SYMMETRIES[number]), earlier.copies[theirs]
    alike = _correlations(some, others)
    sides = later.sides[mine], earlier.sides[theirs]
    was_small = (np.minimum(*sides) < SIDE) & (np.maximum(*sides) > _RESIZED * np.minimum(*sides))
    if was_small.any():  # what the smaller one has lost is not compared
        alike[was_small] = _correlations(_halve(some[was_small]), _halve(others[was_small]))
    keep = alike >= _RIVAL
    return _Pairs(mine[keep], theirs[keep], np.full(keep.sum(), number), alike[keep])


def _halve(copies: np.ndarray) -> np.ndarray:
    """(m, 32, 32) -> (m, 16, 16): means of four pixels"""
    half = SIDE // 2
    return copies.reshape(len(copies), half, 2, half, 2).mean(axis=(2, 4))


def _correlations(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m, h, w) twice -> (m,) correlation coefficients of the pixels"""
    length = some.shape[1] * some.shape[2]
    a, b = (values.reshape(len(values), length).astype(np.float32) for values in (some, others))
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


def find_cheaply(data: "DataSet") -> list[NearPair]:
    """Test images that are nearly training images, as `find_leaks`; [] unasked where reading them takes long.

    Looked at are up to 4,000 images in memory or in files of 100 MB together. Damaged ones are passed over.
    """
    splits = {"train": data.train, "test": data.test}
    if sum(map(len, splits.values())) > _CHEAP_IMAGES or sum(map(_size, splits.values())) > _CHEAP_BYTES:
        return []
    thumbnails = {name: Thumbnails.for_images(len(split)) for name, split in splits.items()}

    def take(name: str, index: int) -> None:
        try:
            image = splits[name].read(index, 2 * SIDE)
        except ConvatlasError:
            return  # the loader names it
        thumbnails[name].take(index, np.ascontiguousarray(image.permute(1, 2, 0).numpy()))

    with ThreadPoolExecutor(threads()) as pool:
        places = [(name, index) for name, split in splits.items() for index in range(len(split))]
        list(pool.map(lambda place: take(*place), places))
    return find_leaks(thumbnails)


def _size(split: "Split") -> int:
    """Bytes of the files of a split; those of images in memory don't count."""
    total = 0
    for path in split.paths or ():
        try:
            total += os.stat(path).st_size
        except (OSError, ValueError):
            continue
    return total
