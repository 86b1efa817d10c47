"""How positions of a network's maps go back to positions of its input: one walk over a trace, for any kind of value.

A value says which input positions each position along one axis reads. A tensor's dimensions are labelled with the axis
along which they run: None for channels, an axis, or several that were flattened into one. What walks is a set of
boxes, one value for each axis: a sum of two branches reads the union of two boxes, which need not be a box.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from convatlas.records import Along, LayerRecord, Reads, Shape

Label = int | tuple[Any, ...] | None  # an axis; or ((label, extent), ...) of the dimensions that were flattened
Box = tuple[Any, ...]


class Values(Protocol):
    """The kind of values that walk."""

    def start(self, extent: int) -> Any:
        """Each position of the input reads itself."""
        ...

    def slide(self, value: Any, along: Along, extent: int, out: int) -> Any:
        """From `extent` positions to `out` positions."""
        ...

    def collapse(self, value: Any, extent: int, out: int) -> Any:
        """`out` positions, each of which reads all `extent` positions."""
        ...

    def join(self, boxes: Iterable[Box], extents: Sequence[int]) -> tuple[Box, ...] | None:
        """The union; None where these values can't say it."""
        ...


@dataclass(frozen=True)
class State:
    """What is known of one tensor."""

    labels: tuple[Label, ...]  # one per dimension, without the batch
    extents: tuple[int, ...]  # positions along each axis
    boxes: tuple[Box, ...]


def walk(records: Sequence[LayerRecord], values: Values, wanted: int | None = None) -> list[State | None]:
    """One state per record; None where the trace does not know what is read. With `wanted`: what that record needs."""
    needed = range(len(records)) if wanted is None else ancestors(records, wanted)
    states: list[State | None] = [None] * len(records)
    for index in needed:
        record = records[index]
        sources: list[State | None] = []
        for source, shape in zip(record.inputs, record.input_shapes, strict=True):
            sources.append(states[source] if source >= 0 else at_input(shape, values))
        known = [state for state in sources if state is not None]
        if known and len(known) == len(sources):
            states[index] = _through(record, known, values)
    return states


def ancestors(records: Sequence[LayerRecord], index: int) -> list[int]:
    """The records that this one is computed from, and itself, in order."""
    found, waiting = set(), [index]
    while waiting:
        current = waiting.pop()
        if current >= 0 and current not in found:
            found.add(current)
            waiting += records[current].inputs
    return sorted(found)


def at_input(shape: Shape, values: Values) -> State | None:
    if len(shape) < 2:
        return None
    extents = tuple(shape[1:])
    box = tuple(values.start(extent) for extent in extents)
    return State((None, *range(len(extents))), extents, (box,))


def _through(record: LayerRecord, sources: list[State], values: Values) -> State | None:
    reads, out = record.reads, record.output_shape
    if reads is None:
        if all(set(state.extents) <= {1} for state in sources):
            reads = Reads("all")  # whatever it does, there is one position
        else:
            return None
    first = sources[0]
    if reads.rule == "same":
        return first if len(sources) == 1 and record.input_shapes[0] == out else _elementwise(out, sources, values)
    if reads.rule == "cat":
        if any(state.labels[dim] is not None for state in sources for dim in reads.dims):
            return None
        return _elementwise(out, sources, values, along=reads.dims[0])
    if reads.rule in ("slide", "unfold"):
        return _slide(first, reads, out, values)
    if reads.rule in ("mix", "contract"):
        return _mix(first, reads, out, values)
    if reads.rule == "permute":
        return replace(first, labels=tuple(first.labels[dim] for dim in reads.dims))
    if reads.rule == "reshape":
        labels = relabel(first.labels, record.input_shapes[0], out)
        return None if labels is None else replace(first, labels=labels)
    return _all(out, sources, values)


def _joined(state: State, boxes: Iterable[Box], values: Values) -> State | None:
    joined = values.join(boxes, state.extents)
    return None if joined is None else replace(state, boxes=joined)


def _elementwise(out: Shape, sources: list[State], values: Values, along: int | None = None) -> State | None:
    """Position by position, with broadcasting; `along` is the dimension that a concatenation lengthens."""
    rows = [(None,) * (len(out) - len(state.labels)) + state.labels for state in sources]
    labels = tuple(next((label for label in column if label is not None), None) for column in zip(*rows, strict=True))
    extents = list(map(max, zip(*(state.extents for state in sources), strict=True)))
    boxes: list[Box] = []
    for state, row in zip(sources, rows, strict=True):
        if any(label not in (None, wanted) for label, wanted in zip(row, labels, strict=True)):
            return None
        if any(extent not in (1, wanted) for extent, wanted in zip(state.extents, extents, strict=True)):
            return None
        boxes += [
            tuple(
                value if extent == wanted else values.collapse(value, extent, wanted)
                for value, extent, wanted in zip(box, state.extents, extents, strict=True)
            )
            for box in state.boxes
        ]
    return _joined(State(labels, tuple(extents), ()), boxes, values)


def _slide(state: State, reads: Reads, out: Shape, values: Values) -> State | None:
    extents, boxes = list(state.extents), [list(box) for box in state.boxes]
    for dim, along in zip(reads.dims, reads.along, strict=True):
        axis = state.labels[dim]
        if isinstance(axis, tuple):
            return None
        if axis is not None:
            for box in boxes:
                box[axis] = values.slide(box[axis], along, extents[axis], out[dim])
            extents[axis] = out[dim]
    labels = (*state.labels, None) if reads.rule == "unfold" else state.labels
    return _joined(State(labels, tuple(extents), ()), map(tuple, boxes), values)


def _axes(label: Label) -> list[int]:
    """The axes in a label."""
    if isinstance(label, tuple):
        return [axis for part, _ in label for axis in _axes(part)]
    return [] if label is None else [label]


def _mix(state: State, reads: Reads, out: Shape, values: Values) -> State | None:
    """All positions along some dimensions are read: those stay, shrink to one position, or go."""
    labels, extents, boxes = list(state.labels), list(state.extents), [list(box) for box in state.boxes]
    kept = len(out) == len(labels)
    for dim in reads.dims:
        for axis in _axes(labels[dim]):
            whole = isinstance(labels[dim], int) and kept and reads.rule == "mix"
            wanted = out[dim] if whole else 1
            for box in boxes:
                box[axis] = values.collapse(box[axis], extents[axis], wanted)
            extents[axis] = wanted
        if not isinstance(labels[dim], int) or reads.rule == "contract":
            labels[dim] = None
    if not kept:
        labels = [label for dim, label in enumerate(labels) if dim not in reads.dims]
    return _joined(State(tuple(labels), tuple(extents), ()), map(tuple, boxes), values)


def _all(out: Shape, sources: list[State], values: Values) -> State | None:
    axes = len(sources[0].extents)
    is_map = len(out) == axes + 1
    extents = tuple(out[1:]) if is_map else (1,) * axes
    boxes = [
        tuple(
            values.collapse(value, extent, new) for value, extent, new in zip(box, state.extents, extents, strict=True)
        )
        for state in sources
        for box in state.boxes
    ]
    labels = (None, *range(axes)) if is_map else (None,) * len(out)
    return _joined(State(labels, extents, ()), boxes, values)


def relabel(labels: tuple[Label, ...], shape: Shape, out: Shape) -> tuple[Label, ...] | None:
    """The labels after a reshape: dimensions that stay keep theirs, those that are flattened are remembered."""
    found: list[Label] = []
    i = j = 0
    while i < len(shape) or j < len(out):
        if i < len(shape) and j < len(out) and shape[i] == out[j]:
            found.append(labels[i])
            i, j = i + 1, j + 1
        elif i < len(shape) and shape[i] == 1:
            i += 1
        elif j < len(out) and out[j] == 1:
            found.append(None)
            j += 1
        else:
            first, other, before, after = i, j, 1, 1
            while before != after or before == 1:
                if before <= after:
                    if i == len(shape):
                        return None
                    before, i = before * shape[i], i + 1
                else:
                    if j == len(out):
                        return None
                    after, j = after * out[j], j + 1
            group = _regroup(list(zip(labels[first:i], shape[first:i], strict=True)), out[other:j])
            if group is None:
                return None
            found += group
    return tuple(found)


def _regroup(parts: list[tuple[Label, int]], sizes: Shape) -> list[Label] | None:
    """Labels of dimensions of these sizes into which the parts were flattened, split or both."""
    parts = [piece for label, size in parts for piece in (label if isinstance(label, tuple) else ((label, size),))]
    nothing: list[Label] = [None] * len(sizes)
    if all(label is None for label, _ in parts):
        return nothing
    if tuple(size for _, size in parts) == sizes:
        return [label for label, _ in parts]
    if len(sizes) == 1:
        return [tuple(parts)]
    spatial = [(label, size) for label, size in parts if label is not None]
    if tuple(size for _, size in spatial) == sizes[-len(spatial) :] and all(
        label is None for label, _ in parts[: -len(spatial)]
    ):
        return nothing[len(spatial) :] + [label for label, _ in spatial]
    return None
