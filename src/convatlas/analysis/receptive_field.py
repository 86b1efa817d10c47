"""Which part of the input one output unit sees, propagated over the traced graph.

A layer with kernel k, dilation d, stride s and padding p on a map whose units see `size` pixels, `jump` pixels apart,
gives size + (k - 1) d jump, a jump of s jump, and a first field that starts p jump earlier (Araujo, Norris and Sim,
"Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019). It is the theoretical field, which may
reach over the edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from convatlas.analysis.kinds import VIEWS
from convatlas.structures import LayerRecord

Pair = tuple[int, int]

# Each output position reads the same position of its inputs.
POINTWISE = {
    "add",
    "sub",
    "mul",
    "div",
    "neg",
    "pow",
    "square",
    "sqrt",
    "abs",
    "clamp",
    "maximum",
    "minimum",
    "cat",
    "join",
    "relu",
    "leaky_relu",
    "prelu",
    "elu",
    "selu",
    "gelu",
    "tanh",
    "sigmoid",
    "softmax",
    "log_softmax",
    "batchnorm",
    "batch_norm",
    "lrn",
    "dropout",
    "identity",
    "contiguous",
    "clone",
    "detach",
    "to",
}

REDUCTIONS = {"mean", "sum", "amax"}


@dataclass(frozen=True)
class ReceptiveField:
    """Pixels of the input, along height and width."""

    size: Pair
    stride: Pair  # pixels between the fields of neighbouring units
    offset: Pair  # first pixel of the first unit's field; negative where it starts in the padding


@dataclass(frozen=True)
class _State:
    field: ReceptiveField
    extent: Pair  # the map's height and width, kept through a flatten


def receptive_fields(records: Sequence[LayerRecord]) -> tuple[ReceptiveField | None, ...]:
    """One field per record; None where it is not defined.

    Not defined: branches that meet with different strides, unequal adaptive windows, up-sampling, whatever moves pixels
    in a way that the trace does not know, and all that reads from these.
    """
    states: list[_State | None] = []
    for record in records:
        sources: list[_State | None] = []
        for source, shape in zip(record.inputs, record.input_shapes, strict=True):
            sources.append(states[source] if source >= 0 else _at_input(shape))
        known = [state for state in sources if state is not None]
        joined = _join(known) if known and len(known) == len(sources) else None
        states.append(_through(record, joined) if joined else None)
    return tuple(state.field if state else None for state in states)


def _at_input(shape: tuple[int, ...]) -> _State | None:
    return _State(ReceptiveField((1, 1), (1, 1), (0, 0)), (shape[1], shape[2])) if len(shape) == 3 else None


def _join(states: list[_State]) -> _State | None:
    """The smallest field that holds all branches' fields; None where their strides differ."""
    first = states[0]
    if any(state.field.stride != first.field.stride or state.extent != first.extent for state in states):
        return None
    starts = [state.field.offset for state in states]
    ends = [(o[0] + s[0], o[1] + s[1]) for o, s in ((state.field.offset, state.field.size) for state in states)]
    offset = (min(o[0] for o in starts), min(o[1] for o in starts))
    size = (max(e[0] for e in ends) - offset[0], max(e[1] for e in ends) - offset[1])
    return _State(ReceptiveField(size, first.field.stride, offset), first.extent)


def _slide(state: _State, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, extent: Pair) -> _State:
    size, jump, offset = state.field.size, state.field.stride, state.field.offset
    field = ReceptiveField(
        (size[0] + (kernel[0] - 1) * dilation[0] * jump[0], size[1] + (kernel[1] - 1) * dilation[1] * jump[1]),
        (jump[0] * stride[0], jump[1] * stride[1]),
        (offset[0] - padding[0] * jump[0], offset[1] - padding[1] * jump[1]),
    )
    return _State(field, extent)


def _pair(value: tuple[int, ...] | None, default: int) -> Pair | None:
    if value is None:
        return default, default
    return (value[0], value[1]) if len(value) == 2 else None


def _through(record: LayerRecord, state: _State) -> _State | None:
    out = record.output_shape
    if record.kind == "fc" or (len(out) == 1 and (record.connections or record.kind in REDUCTIONS)):
        return _slide(state, state.extent, (1, 1), (0, 0), (1, 1), (1, 1))  # reads the whole map
    if record.kind in POINTWISE or record.kind in VIEWS:
        return state
    if record.kind == "pad" and record.input_shapes and record.input_shapes[0][1:] == out[1:]:
        return state  # channels only
    if record.kernel is None or record.kind in ("deconv", "unpool") or len(out) != 3:
        return None
    kernel, stride = _pair(record.kernel, 1), _pair(record.stride, 1)
    padding, dilation = _pair(record.padding, 0), _pair(record.dilation, 1)
    if kernel is None or stride is None or padding is None or dilation is None:
        return None
    return _slide(state, kernel, stride, padding, dilation, (out[1], out[2]))
