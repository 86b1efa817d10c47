"""The exact pixels that one unit sees: inside the input, with the holes that dilation and strides leave.

Along one axis a boolean matrix says which pixels each position reaches. Along two axes a unit sees a union of boxes,
one for each kind of path: beside each other, a 1x3 and a 3x1 filter see a cross.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convatlas.analysis.positions import Box, State, walk
from convatlas.errors import UsageError
from convatlas.records import Along, LayerRecord

Matrix = NDArray[np.bool_]  # (positions, pixels)


@dataclass(frozen=True)
class Reach:
    """What the units of one layer see, all channels together."""

    boxes: tuple[tuple[Matrix, ...], ...]  # of each, one matrix per axis
    extents: tuple[int, ...]  # positions along each axis
    is_map: bool  # channels first, then the axes: a unit stands at a position; else one position stands for all

    def along(self, axis: int) -> Matrix:
        """(positions, pixels): whether any unit at this position of the axis sees any pixel at that position."""
        return np.logical_or.reduce([box[axis] & _others_see(box, axis) for box in self.boxes])

    def region(self, unit: Sequence[int]) -> NDArray[np.bool_]:
        """The pixels, (H, W), that the unit at (y, x) sees."""
        at = unit if self.is_map else (0,) * len(self.extents)
        found = [_outer([matrix[i] for matrix, i in zip(box, at, strict=True)]) for box in self.boxes]
        return np.logical_or.reduce(found)


def _others_see(box: tuple[Matrix, ...], axis: int) -> bool:
    return all(bool(matrix.any()) for other, matrix in enumerate(box) if other != axis)


def _outer(rows: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    product = rows[0]
    for row in rows[1:]:
        product = product[..., None] & row
    return product


class Exact:
    """Values for `walk`: boolean matrices."""

    def start(self, extent: int) -> Matrix:
        return np.eye(extent, dtype=bool)

    def slide(self, value: Matrix, along: Along, extent: int, out: int) -> Matrix:
        result = np.zeros((out, value.shape[1]), dtype=bool)
        for index, valid in taps(along, extent, out):
            result |= value[np.clip(index, 0, extent - 1)] & valid[:, None]
        return result

    def collapse(self, value: Matrix, extent: int, out: int) -> Matrix:
        return np.broadcast_to(value.any(axis=0), (out, value.shape[1]))

    def join(self, boxes: Iterable[Box], extents: Sequence[int]) -> tuple[Box, ...]:
        """All boxes but those that lie in another one."""
        kept: list[Box] = []
        for box in boxes:
            if any(_inside(box, other) for other in kept):
                continue
            kept = [other for other in kept if not _inside(other, box)]
            kept.append(box)
        return tuple(kept)


def _inside(small: Box, large: Box) -> bool:
    return all(a is b or not (a & ~b).any() for a, b in zip(small, large, strict=True))


def taps(along: Along, extent: int, out: int) -> Iterable[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """For each of the values that a position reads: (its position in the input, whether there is one)."""
    y = np.arange(out)
    k, s, p, d = along.kernel, along.stride, along.padding, along.dilation
    if along.rule == "window":
        indices = [(y * s - p + j * d, True) for j in range(k)]
    elif along.rule == "spread":
        indices = [((y + p - j * d) // s, (y + p - j * d) % s == 0) for j in range(k)]
    elif along.rule == "adaptive":
        first, end = y * extent // out, -(-(y + 1) * extent // out)
        indices = [(first + j, first + j < end) for j in range(int((end - first).max()))]
    elif along.rule in ("reflect", "replicate", "circular"):
        inner = y - p
        last = extent - 1
        moved = {
            "reflect": last - np.abs(last - np.abs(inner)),
            "replicate": np.clip(inner, 0, last),
            "circular": inner % extent,
        }
        indices = [(moved[along.rule], True)]
    else:
        indices = [(np.clip(index, 0, extent - 1), True) for index in _resized(along, extent, out)]
    for index, valid in indices:
        yield index, valid & (index >= 0) & (index < extent)


def _resized(along: Along, extent: int, out: int) -> list[NDArray[np.int64]]:
    """As torch rounds: in float32."""
    y, scale = np.arange(out, dtype=np.float32), np.float32(along.scale)
    if along.rule == "nearest":
        return [np.floor(y * scale).astype(np.int64)]
    if along.corners:
        place = y * np.float32((extent - 1) / max(out - 1, 1))
    else:
        place = (y + np.float32(0.5)) * scale - np.float32(0.5)
    if along.rule == "linear":
        place = np.maximum(place, 0)
    first = np.floor(place).astype(np.int64)
    return [first + j for j in ((0, 1) if along.rule == "linear" else (-1, 0, 1, 2))]


def reaches(records: Sequence[LayerRecord]) -> tuple[Reach | None, ...]:
    """Of each record; None where the trace does not know what it reads."""
    return tuple(_reach(state) if state else None for state in walk(records, Exact()))


def reach(records: Sequence[LayerRecord], index: int) -> Reach:
    """Of one record.

    Raises:
        UsageError: the trace does not know what it, or something before it, reads.
    """
    state = walk(records, Exact(), index)[index]
    if state is None:
        raise UsageError(f"layer is {records[index].name!r}; expected one whose reading of the input is known")
    return _reach(state)


def _reach(state: State) -> Reach:
    if state.labels == (None, *range(len(state.extents))):
        return Reach(state.boxes, state.extents, True)
    values, extents = Exact(), (1,) * len(state.extents)
    boxes = [tuple(values.collapse(matrix, 0, 1) for matrix in box) for box in state.boxes]
    return Reach(values.join(boxes, extents), extents, False)
