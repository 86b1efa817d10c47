"""Whether masks were resized smoothly, told by where classes meet: a smooth resizing draws the numbers between."""

from typing import NamedTuple, Self

import numpy as np

from convatlas.records import VOID

_WIDE = 3  # pixels of a run, from which on it is a region and no seam
_LONGEST_CHAIN = 3  # thin runs between two regions
_MIN_SEAMS = 20
_MAX_SHARE = 0.25  # 0.00 to 0.04 in masks drawn by hand, 0.3 to 1 in those that were resized smoothly


class Meetings(NamedTuple):
    """Places along rows and columns where regions meet whose numbers are not neighbours, such as 0 and 2."""

    direct: int = 0
    seams: int = 0  # with one or two pixels of each of up to three numbers between, in order: 0 1 2

    def plus(self, other: "Meetings") -> "Meetings":
        return Meetings(self.direct + other.direct, self.seams + other.seams)

    @property
    def are_smooth(self) -> bool:
        """Whether the seams are too many to be thin objects: those lie between two regions whatever their numbers."""
        return self.seams >= _MIN_SEAMS and self.seams > _MAX_SHARE * (self.seams + self.direct)

    @classmethod
    def of(cls, numbers: np.ndarray) -> Self:
        """Of a mask (H, W); void counts nowhere."""
        direct, seams = (
            sum(pair) for pair in zip(_along_rows(numbers), _along_rows(np.ascontiguousarray(numbers.T)), strict=True)
        )
        return cls(direct, seams)


def _along_rows(lines: np.ndarray) -> tuple[int, int]:
    width = lines.shape[1]
    begins = np.ones(lines.shape, dtype=bool)
    begins[:, 1:] = lines[:, 1:] != lines[:, :-1]
    places = np.flatnonzero(begins)
    values = lines.reshape(-1)[places].astype(np.int64)
    lengths, rows = np.diff(np.append(places, lines.size)), places // width
    wide = np.flatnonzero((lengths >= _WIDE) & (values != VOID))
    first, last = wide[:-1], wide[1:]
    meet = (rows[first] == rows[last]) & (np.abs(values[first] - values[last]) > 1)
    first, last = first[meet], last[meet]
    between = last - first - 1
    return int((between == 0).sum()), sum(
        _chains(values, lengths, first[between == count], count) for count in range(1, _LONGEST_CHAIN + 1)
    )


def _chains(values: np.ndarray, lengths: np.ndarray, first: np.ndarray, count: int) -> int:
    """How many of the chains of `count` runs after the first are thin, and lead up or down from region to region."""
    chain = first[:, None] + np.arange(count + 2)
    steps = np.diff(values[chain], axis=1)
    is_thin = (lengths[chain[:, 1:-1]] < _WIDE).all(1)
    leads = (steps > 0).all(1) | (steps < 0).all(1)
    return int((is_thin & leads).sum())
