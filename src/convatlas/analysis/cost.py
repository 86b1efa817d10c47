"""What a forward pass costs, layer by layer and in total. Multiply-adds and FLOPs are never mixed.

Memory is counted for eager PyTorch in float32, and `scratch_bytes` says what its CPU kernels hold beside their output:
max pooling keeps 8-byte indices, response normalisation its intermediate maps, and a convolution of a plain (B, C,
H, W) tensor copies input, weights and output into oneDNN's blocked layout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from convatlas.analysis.flops import MOVES, flops
from convatlas.records import LayerRecord, Shape

FLOAT32_BYTES = 4
INDEX_BYTES = 8
BLOCK = 16  # channels that oneDNN keeps together with AVX-512
SMALL_INPUT = 20_480  # values up to which torch convolves a single sample by itself, as a product of matrices


@dataclass(frozen=True)
class LayerCost:
    """One operation of one sample's forward pass."""

    parameters: int
    connections: int | None  # None: not counted
    multiply_adds: int | None
    flops: int | None
    activation_bytes: int  # of its output, unless that is a view of its input
    alive_bytes: int  # all activations that are held while it runs
    scratch_bytes: int  # what the kernel holds for itself
    moved_bytes: int  # inputs, weights and output, each once; views move nothing

    @property
    def intensity(self) -> float | None:
        """FLOPs per byte moved."""
        return None if self.flops is None or not self.moved_bytes else self.flops / self.moved_bytes


@dataclass(frozen=True)
class Cost:
    """Sums over one sample's forward pass."""

    parameters: int
    connections: int
    multiply_adds: int
    flops: int
    weight_bytes: int  # of the parameters, in float32
    activation_bytes: int  # every output that is not a view of its input
    peak_activation_bytes: int  # the most that is alive at one time, the input included
    peak_bytes: int  # the same with the kernels' scratch: what the CPU allocator hands out at most, weights apart
    least_activation_bytes: int  # the peak of an engine that frees each tensor after its last reading
    moved_bytes: int
    intensity: float | None  # FLOPs per byte moved
    uncounted: tuple[str, ...]  # operations whose multiply-adds are not in the sum
    uncounted_flops: tuple[str, ...]  # operations whose FLOPs are not in the sum


def layer_cost(record: LayerRecord) -> LayerCost:
    per_sample, constant = scratch(record)
    return LayerCost(
        parameters=record.parameters,
        connections=record.connections,
        multiply_adds=record.multiply_adds,
        flops=flops(record),
        activation_bytes=record.output_bytes,
        alive_bytes=record.alive_bytes,
        scratch_bytes=per_sample + constant,
        moved_bytes=_moved_bytes(record),
    )


def cost(records: Sequence[LayerRecord], input_shape: Shape | None = None) -> Cost:
    """The sums. The input's shape is read from the first record that uses it unless it is given."""
    layers = [layer_cost(record) for record in records]
    operations = sum(layer.flops or 0 for layer in layers)
    moved = sum(layer.moved_bytes for layer in layers)
    return Cost(
        parameters=sum(record.parameters for record in records),
        connections=sum(record.connections or 0 for record in records),
        multiply_adds=sum(record.multiply_adds or 0 for record in records),
        flops=operations,
        weight_bytes=FLOAT32_BYTES * sum(record.parameters for record in records),
        activation_bytes=sum(record.output_bytes for record in records),
        peak_activation_bytes=max((record.alive_bytes for record in records), default=0),
        peak_bytes=peak_bytes(records),
        least_activation_bytes=least_activation_bytes(records, input_shape),
        moved_bytes=moved,
        intensity=operations / moved if moved else None,
        uncounted=tuple(record.name for record in records if record.multiply_adds is None),
        uncounted_flops=tuple(
            record.name for record, layer in zip(records, layers, strict=True) if layer.flops is None
        ),
    )


def peak_bytes(records: Sequence[LayerRecord], batch: int = 1, threads: int | None = None) -> int:
    """The most bytes that a forward pass of `batch` samples holds at once beside the weights, the input included.

    Args:
        records: of a trace in evaluation mode.
        batch: samples that go through together.
        threads: of torch, which chooses its kernels by them; None takes `torch.get_num_threads()`.
    """
    most = 0
    for record in records:
        per_sample, constant = scratch(record, batch, threads)
        most = max(most, batch * (record.alive_bytes + per_sample) + constant)
    return most


def scratch(record: LayerRecord, batch: int = 1, threads: int | None = None) -> tuple[int, int]:
    """(bytes per sample, bytes whatever the batch) that torch's CPU kernel holds beside its output."""
    outputs = math.prod(record.output_shape)
    if record.kind == "maxpool":
        return INDEX_BYTES * outputs, 0
    if record.kind == "lrn":
        return 2 * FLOAT32_BYTES * outputs, 0  # squares or their sums, scaled, beside what becomes the divisor
    if record.kind not in ("conv", "deconv") or record.kernel is None:
        return 0, 0
    channels, *positions = record.input_shapes[0]
    alone = (threads or torch.get_num_threads()) == 1 and batch < 16
    if math.prod(record.kernel) == 1 and set(record.stride or (1,)) == {1} and alone:
        return 0, 0  # a product of matrices, on the plain layout
    if batch == 1 and record.groups == 1 and min(record.kernel) <= 3 and channels * math.prod(positions) <= SMALL_INPUT:
        return FLOAT32_BYTES * channels * math.prod((*record.kernel, *record.output_shape[1:])), 0  # windows as columns
    few = channels < BLOCK // 2  # the input of a first layer is read as it is
    copied = 0 if few else FLOAT32_BYTES * _blocked(channels) * math.prod(positions)
    weights = FLOAT32_BYTES * record.weights_read
    if record.groups == 1:
        pairs = _blocked(record.output_shape[0]) * (channels if few else _blocked(channels))
        weights = FLOAT32_BYTES * pairs * math.prod(record.kernel)
    output = FLOAT32_BYTES * _blocked(record.output_shape[0]) * math.prod(record.output_shape[1:])
    # while it computes it holds the copies of input, weights and output; then the copy of the output and the output
    computing, finishing = batch * (copied + output) + weights, batch * (FLOAT32_BYTES * outputs + output)
    if computing >= finishing:
        return copied + output - FLOAT32_BYTES * outputs, weights
    return output, 0


def _blocked(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _moved_bytes(record: LayerRecord) -> int:
    if record.output_bytes == 0 and record.kind in MOVES:
        return 0
    read = sum(math.prod(shape) for shape in record.input_shapes)
    return FLOAT32_BYTES * (read + record.weights_read + math.prod(record.output_shape))


def least_activation_bytes(records: Sequence[LayerRecord], input_shape: Shape | None = None) -> int:
    """The largest sum of tensors that are alive together: made, and still to be read by a later operation.

    Inputs and output of the running operation are alive together. A record without own bytes is a view: it keeps its
    input alive.
    """
    if not records:
        return 0
    last_read = [record.index for record in records]
    input_last_read = 0
    for record in reversed(records):  # consumers come after what they read
        until = last_read[record.index] if record.output_bytes == 0 else record.index
        for source in record.inputs:
            if source < 0:
                input_last_read = max(input_last_read, until)
            else:
                last_read[source] = max(last_read[source], until)
    shape = input_shape or _input_shape(records)
    input_bytes = FLOAT32_BYTES * math.prod(shape)
    released: dict[int, int] = {input_last_read: input_bytes}
    alive = peak = input_bytes
    for record in records:
        alive += record.output_bytes
        peak = max(peak, alive)
        released[last_read[record.index]] = released.get(last_read[record.index], 0) + record.output_bytes
        alive -= released.pop(record.index, 0)
    return peak


def _input_shape(records: Sequence[LayerRecord]) -> Shape:
    for record in records:
        for source, shape in zip(record.inputs, record.input_shapes, strict=True):
            if source < 0:
                return shape
    return (0,)
