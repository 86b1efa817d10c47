"""The chain of modules at a network's beginning, and which windows of their outputs a change of their input reaches.

A stage is a module that the network calls once, that reads nothing but the stage before it, and behind which nothing
reads back beyond its output. Its operations slide windows or work position by position, so that a window of its output
comes out the same from the window of the input that it reads.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convatlas.analysis.trace import INPUT
from convatlas.records import LayerRecord, Shape

Places = NDArray[np.int64]
LOCAL_KINDS = frozenset(
    {"conv", "maxpool", "avgpool", "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "tanh", "sigmoid"}
    | {"batchnorm", "lrn", "dropout", "identity", "add", "cat"}
)


@dataclass(frozen=True)
class Windows:
    """Along one axis, one window a place: what a stage reads, and what of its output is kept. All are equally long."""

    start: Places  # of what it reads; a multiple of the stage's stride
    length: int
    kept: Places  # where the changed window of the output starts
    kept_length: int
    skipped: Places  # positions of the window's output before it


@dataclass(frozen=True)
class Axis:
    """What the positions of a stage's output read along one axis of its input: an interval each, ascending."""

    first: Places
    last: Places
    stride: int
    extent: int  # of the input

    def windows(self, start: Places, length: int) -> Windows:
        """For changes of the input from `start` on.

        What is read ends with the map wherever it starts at the latest multiple of the stride, so that borders are
        padded where the map's are, and nowhere else that counts.
        """
        before = np.searchsorted(self.last, start)  # outputs that end before the change
        behind = np.searchsorted(self.first, start + length)
        kept_length = max(int((behind - before).max()), 1)
        kept = np.minimum(before, len(self.first) - kept_length)
        begin = self.first[kept] // self.stride * self.stride
        needed = int((self.last[kept + kept_length - 1] + 1 - begin).max())
        needed += (self.extent - needed) % self.stride
        begin = np.minimum(begin, self.extent - needed)
        return Windows(begin, needed, kept, kept_length, kept - begin // self.stride)


@dataclass(frozen=True)
class Stage:
    modules: tuple[nn.Module, ...]  # the first, and those behind it that work position by position
    axes: tuple[Axis, Axis]
    multiply_adds: int  # on the whole map


def leading_stages(net: nn.Module, records: Sequence[LayerRecord], input_shape: Shape, *, before: int) -> list[Stage]:
    """The stages of a network, in their order, up to the one that holds record `before`.

    Args:
        net: whose trace in evaluation mode the records are.
        input_shape: of the trace, (C, H, W).
    """
    groups = [(path, tuple(group)) for path, group in itertools.groupby(records, lambda record: _path(net, record))]
    paths = [path for path, _ in groups]
    stages: list[Stage] = []
    base, shape = INPUT, input_shape
    for path, group in groups:
        last = group[-1].index
        reads_back = any(source < last for record in records[last + 1 :] for source in record.inputs)
        if reads_back or path is None or paths.count(path) > 1 or last >= before:
            break
        axes = [_axis(net, group, base, shape, axis) for axis in (0, 1)]
        if axes[0] is None or axes[1] is None:
            break
        stage = Stage((net.get_submodule(path),), (axes[0], axes[1]), sum(r.multiply_adds or 0 for r in group))
        if stages and all(np.array_equal(a.first, a.last) and len(a.first) == a.extent for a in stage.axes):
            stages[-1] = replace(stages[-1], modules=stages[-1].modules + stage.modules)
        else:
            stages.append(stage)
        base, shape = last, group[-1].output_shape
    return stages


def _path(net: nn.Module, record: LayerRecord) -> str | None:
    """The outermost module around an operation that is no plain sequence; None where only the network itself is."""
    module, path = net, record.name.partition("/")[0]
    parts = path.split(".") if path else []
    for depth, part in enumerate(parts, start=1):
        module = module.get_submodule(part)
        if type(module).forward is not nn.Sequential.forward:
            return ".".join(parts[:depth])
    return None


def _axis(net: nn.Module, records: Sequence[LayerRecord], base: int, shape: tuple[int, ...], axis: int) -> Axis | None:
    """What the last of these records reads of the output of record `base`; None where that is no plain window."""
    if len(shape) != 3:
        return None
    extent = shape[1 + axis]
    read = {base: (np.arange(extent), np.arange(extent), 1)}
    for record in records:
        if not _is_local(net, record) or not all(source in read for source in record.inputs):
            return None
        firsts, lasts, strides = zip(*(read[source] for source in record.inputs), strict=True)
        if len(set(strides)) > 1 or len({len(first) for first in firsts}) > 1:
            return None
        first, last, stride = np.min(firsts, 0), np.max(lasts, 0), strides[0]
        if record.reads is not None and record.reads.rule == "slide":
            along = record.reads.along[axis]
            begin = np.arange(record.output_shape[1 + axis]) * along.stride - along.padding
            end = begin + (along.kernel - 1) * along.dilation
            first, last = first[begin.clip(0, len(first) - 1)], last[end.clip(0, len(last) - 1)]
            stride *= along.stride
        read[record.index] = (first, last, stride)
    return Axis(*read[records[-1].index], extent)


def _is_local(net: nn.Module, record: LayerRecord) -> bool:
    """Whether a window of the output comes out the same from the window of the input that it reads."""
    if record.kind not in LOCAL_KINDS or record.reads is None or len(record.output_shape) != 3:
        return False
    if record.kind in ("add", "cat") and len(record.inputs) < 2:  # with a constant, which may be a map
        return False
    if "/" not in record.name and getattr(net.get_submodule(record.name), "padding_mode", "zeros") != "zeros":
        return False
    reads = record.reads
    windows = reads.rule == "slide" and reads.dims == (1, 2) and all(along.rule == "window" for along in reads.along)
    return reads.rule == "same" or windows or (reads.rule == "cat" and reads.dims == (0,))
