"""Which part of the input one output unit sees, as if the input went on beyond its edges.

Along each axis the first and last pixel that a unit sees are a periodic function of its position: a unit that stands a
period further on sees the same, some pixels further on. Convolution and pooling keep a period of 1, and then the rule
is the usual one (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill,
2019); transposed convolution, unpooling and interpolation by f make it f times as long.

`reach` tells the exact pixels of one unit, inside the input; `probe` proves both.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from convatlas.analysis.positions import Box, State, walk
from convatlas.records import Along, LayerRecord

Number = int | float


@dataclass(frozen=True)
class ReceptiveField:
    """Pixels of the input, along each axis (height and width)."""

    size: tuple[int, ...]  # of the unit that sees most, where units of one layer differ
    stride: tuple[Number, ...]  # pixels between the fields of neighbouring units, on average; 0: all see the same
    offset: tuple[int, ...]  # first pixel of the first unit's field; negative where it starts in the padding


@dataclass(frozen=True)
class Periodic:
    """The unit at i + n P sees the pixels from first[i] + n step to last[i] + n step; None where it sees nothing."""

    ends: tuple[tuple[int, int] | None, ...]  # P of them
    step: int

    def at(self, position: int) -> tuple[int, int] | None:
        periods, i = divmod(position, len(self.ends))
        ends = self.ends[i]
        return None if ends is None else (ends[0] + periods * self.step, ends[1] + periods * self.step)

    def hull(self, positions: Iterable[int]) -> tuple[int, int] | None:
        """From the first to the last pixel that any of the units sees."""
        found = [ends for ends in map(self.at, positions) if ends is not None]
        return (min(ends[0] for ends in found), max(ends[1] for ends in found)) if found else None


class Unbounded:
    """Values for `walk`: fields that may reach over the edges. Branches are united, or kept apart."""

    def __init__(self, *, paths: bool = False) -> None:
        self.paths = paths

    def start(self, extent: int) -> Periodic:
        return Periodic(((0, 0),), 1)

    def slide(self, value: Periodic, along: Along, extent: int, out: int) -> Periodic:
        if along.rule == "adaptive" and out == 1:
            return self.collapse(value, extent, out)
        period, steps, taps = positions_read(along, extent, out)
        units = math.lcm(len(value.ends), steps) // steps * period  # after which both repeat
        return Periodic(
            tuple(value.hull(taps(unit)) for unit in range(units)),
            value.step * (units // period * steps) // len(value.ends),
        )

    def collapse(self, value: Periodic, extent: int, out: int) -> Periodic:
        return Periodic((value.hull(range(extent)),), value.step // len(value.ends) if out == 1 else 0)

    def join(self, boxes: Iterable[Box], extents: Sequence[int]) -> tuple[Box, ...] | None:
        different = tuple(dict.fromkeys(boxes))
        if self.paths or len(different) == 1:
            return different
        united = tuple(unite(axis, extent) for axis, extent in zip(zip(*different, strict=True), extents, strict=True))
        return None if None in united else (united,)


def positions_read(along: Along, extent: int, out: int) -> tuple[int, int, Callable[[int], Iterable[int]]]:
    """(P, Q, the positions that unit y reads): unit y + P reads what y reads, Q positions further on."""
    k, s, p, d = along.kernel, along.stride, along.padding, along.dilation
    if along.rule == "window":
        return 1, s, lambda y: range(y * s - p, y * s - p + (k - 1) * d + 1, d)
    if along.rule == "spread":
        return s, 1, lambda y: [(y + p - j * d) // s for j in range(k) if (y + p - j * d) % s == 0]
    if along.rule in ("reflect", "replicate", "circular"):
        return 1, 1, lambda y: (y - p,)
    if along.rule == "adaptive":
        ratio = Fraction(extent, out)
        ends = (ratio.denominator, ratio.numerator)
        return *ends, lambda y: range(math.floor(y * ratio), math.ceil((y + 1) * ratio))
    if along.corners:
        ratio = Fraction(extent - 1, max(out - 1, 1))
        centre = Fraction(0)
    else:
        ratio = Fraction(along.scale).limit_denominator(4096)
        centre = Fraction(0) if along.rule == "nearest" else (ratio - 1) / 2
    before, after = {"nearest": (0, 0), "linear": (0, 1), "cubic": (-1, 2)}[along.rule]
    first = lambda y: math.floor(y * ratio + centre)  # noqa: E731
    return ratio.denominator, ratio.numerator, lambda y: range(first(y) + before, first(y) + after + 1)


def unite(values: Sequence[Periodic], extent: int) -> Periodic | None:
    """The smallest field that holds all branches' fields; None where they move on at different speeds."""
    if any(value.step == 0 for value in values):  # what sees everything leaves no more to see
        whole = [value.hull(range(extent)) for value in values]
        found = [ends for ends in whole if ends is not None]
        return Periodic(((min(e[0] for e in found), max(e[1] for e in found)),), 0)
    if len({Fraction(value.step, len(value.ends)) for value in values}) > 1:
        return None
    period = math.lcm(*(len(value.ends) for value in values))
    united: list[tuple[int, int] | None] = []
    for unit in range(period):
        found = [ends for ends in (value.at(unit) for value in values) if ends is not None]
        united.append((min(e[0] for e in found), max(e[1] for e in found)) if found else None)
    return Periodic(tuple(united), values[0].step * (period // len(values[0].ends)))


def receptive_fields(records: Sequence[LayerRecord]) -> tuple[ReceptiveField | None, ...]:
    """One field per record, which holds those of all paths; None where it is not defined.

    Not defined: branches that meet with different strides, whatever moves pixels in a way that the trace does not
    know, and all that reads from these.
    """
    return tuple(_field(state.boxes[0], state) if state else None for state in walk(records, Unbounded()))


def path_fields(records: Sequence[LayerRecord], index: int) -> tuple[ReceptiveField, ...]:
    """The different fields that one layer has over the different paths from the input, the smallest first."""
    state = walk(records, Unbounded(paths=True), index)[index]
    fields = {field for box in (state.boxes if state else ()) if state and (field := _field(box, state))}
    return tuple(sorted(fields, key=lambda field: (math.prod(field.size), field.size, field.offset)))


def _field(box: Box, state: State) -> ReceptiveField | None:
    sizes, strides, offsets = [], [], []
    for value, extent in zip(box, state.extents, strict=True):
        seen = [ends for ends in map(value.at, range(min(len(value.ends), extent))) if ends is not None]
        if not seen:
            return None
        stride = Fraction(value.step, len(value.ends))
        sizes.append(max(last - first + 1 for first, last in seen))
        strides.append(int(stride) if stride.denominator == 1 else float(stride))
        offsets.append(seen[0][0])
    return ReceptiveField(tuple(sizes), tuple(strides), tuple(offsets))
