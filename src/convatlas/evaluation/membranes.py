"""The errors of the ISBI 2012 challenge: cells parted by membranes, in electron micrographs.

Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", 2015; Jain et
al., "Boundary Learning by Optimization with Topological Constraints", CVPR 2010 (warping); Rand 1971.

A mask is 1 in cells and 0 on membranes. Cells are connected along edges, membranes also over corners: a membrane one
pixel wide parts two cells. The challenge thresholds a probability and takes the best threshold for each error.

Departs  What becomes of membrane that is predicted inside a true cell is not printed. In the foreground-restricted
         error each such pixel is alone, as in the organisers' later script; in the plain one they are one segment.
Shapes   H x W mask or segment numbers, N images.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage import measure

from convatlas.errors import UsageError

Mask = NDArray[np.bool_]
Segments = NDArray[np.integer]
THRESHOLDS = tuple(step / 10 for step in range(1, 10))
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # clockwise from above left


class Best(NamedTuple):
    """The lowest error over the thresholds."""

    error: float
    threshold: float


def best_over_thresholds(
    probabilities: Sequence[NDArray[np.floating]],
    masks: Sequence[Mask],
    error: Callable[[Mask, Mask], float],
    thresholds: Iterable[float] = THRESHOLDS,
) -> Best:
    """One threshold for all N images, so that the mean error is least; of equals the first.

    Args:
        probabilities: of being a cell, (H, W) each.
        masks: the truth, (H, W) each.
        error: of (found, true).
        thresholds: a pixel is a cell where its probability is larger.
    """
    tried = [
        Best(
            float(np.mean([error(p > threshold, mask) for p, mask in zip(probabilities, masks, strict=True)])),
            threshold,
        )
        for threshold in thresholds
    ]
    if not tried:
        raise UsageError("thresholds are empty; expected at least one")
    return min(tried, key=lambda best: best.error)


def pixel_error(found: Mask, true: Mask) -> float:
    """The part of pixels that differ, which is the squared distance of the labels."""
    _same_shape(found, true)
    return float(np.mean(np.asarray(found, dtype=bool) != np.asarray(true, dtype=bool)))


def segments(mask: Mask) -> Segments:
    """The cells, numbered from 1; 0 on membranes: (H, W) -> (H, W)"""
    return np.asarray(measure.label(np.asarray(mask, dtype=bool), connectivity=1))


def rand_error(found: Segments, true: Segments) -> float:
    """The part of all pairs of pixels that one segmentation joins and the other parts: 1 - the Rand index.

    Membranes (0) are a segment like any other.
    """
    table = _contingency(found, true).astype(np.float64)
    n = table.sum()
    both, of_true, of_found = _pairs(table).sum(), _pairs(table.sum(1)).sum(), _pairs(table.sum(0)).sum()
    return float((of_true + of_found - 2 * both) / _pairs(n)) if n > 1 else 0.0


def foreground_rand_error(found: Segments, true: Segments) -> float:
    """1 - the F-score of joined pairs among the pixels of true cells: the challenge's Rand error.

    Precision is the part of the pairs that `found` joins that are truly of one cell, recall the part of the truly
    joined that it joins. NaN where the truth has no two pixels in one cell; 1 where no pair is rightly joined.
    """
    inside = true > 0
    _same_shape(found, true)
    table = _contingency(found[inside], true[inside]).astype(np.float64)
    of_true = _pairs(table.sum(1)).sum()
    if (found[inside] == 0).any():
        table = table[:, 1:]  # segment 0 comes first: each of its pixels is alone
    both, of_found = _pairs(table).sum(), _pairs(table.sum(0)).sum()
    return float(1 - 2 * both / (of_true + of_found)) if of_true else float("nan")


def warping_error(found: Mask, true: Mask) -> float:
    """The part of pixels that still differ after `warp`: cells that are merged, parted, lost or invented."""
    return pixel_error(warp(true, found), found)


def warp(true: Mask, towards: Mask) -> Mask:
    """Deforms the truth towards a prediction without changing its topology: (H, W), (H, W) -> (H, W)

    Pixels that differ are flipped as long as each is simple: its flip joins, parts, makes and removes neither a cell
    nor a membrane. Beyond the image there is membrane. The order is fixed (four interleaved grids in turn, whose
    pixels don't touch); the result is a local minimum, as in the paper.
    """
    _same_shape(towards, true)
    padded = np.pad(np.asarray(true, dtype=bool), 1)
    wanted = np.pad(np.asarray(towards, dtype=bool), 1)
    height, width = padded.shape
    simple, changed = _simple_points(), True
    while changed:
        changed = False
        for top in (1, 2):
            for left in (1, 2):
                own = (slice(top, height - 1, 2), slice(left, width - 1, 2))
                code = np.zeros(padded[own].shape, dtype=np.uint8)
                for bit, (down, right) in enumerate(_AROUND):
                    neighbour = padded[top + down : height - 1 + down : 2, left + right : width - 1 + right : 2]
                    code |= neighbour.astype(np.uint8) << bit
                flips = (padded[own] != wanted[own]) & simple[code]
                padded[own] ^= flips
                changed |= bool(flips.any())
    return padded[1:-1, 1:-1]


@functools.cache
def _simple_points() -> Mask:
    """For each of the 256 neighbourhoods, bits in the order of `_AROUND`, whether the middle may be flipped.

    It may where just one cell touches it along an edge and just one membrane touches it at all, both seen within the
    neighbourhood (Kong and Rosenfeld 1989).
    """
    middle = np.zeros((3, 3), dtype=bool)
    simple = np.zeros(256, dtype=bool)
    for code in range(256):
        around = middle.copy()
        for bit, (down, right) in enumerate(_AROUND):
            around[1 + down, 1 + right] = code >> bit & 1
        cells = np.asarray(measure.label(around, connectivity=1))
        touching = {int(cells[place]) for place in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
        outside = ~around
        outside[1, 1] = False
        outside_numbers = np.asarray(measure.label(outside, connectivity=2))
        simple[code] = len(touching) == 1 and len(np.unique(outside_numbers[outside])) == 1
    return simple


def _contingency(found: Segments, true: Segments) -> NDArray[np.int64]:
    """Pixels by true and found segment, each in the order of their numbers."""
    _same_shape(found, true)
    rows, row = np.unique(true, return_inverse=True)
    columns, column = np.unique(found, return_inverse=True)
    cells = np.bincount(row.ravel() * len(columns) + column.ravel(), minlength=len(rows) * len(columns))
    return cells.reshape(len(rows), len(columns))


def _pairs(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counts * (counts - 1) / 2


def _same_shape(found: NDArray[np.generic], true: NDArray[np.generic]) -> None:
    if found.shape != true.shape:
        raise UsageError(f"found is {found.shape} and true is {true.shape}; expected one shape")
