"""What one forward pass of one sample costs, summed over a trace. Multiply-adds are never doubled into FLOPs."""

from collections.abc import Sequence
from dataclasses import dataclass

from convatlas.structures import LayerRecord, Shape

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """Sums over one sample's forward pass."""

    parameters: int
    connections: int
    multiply_adds: int
    weight_bytes: int  # of the parameters, in float32
    activation_bytes: int  # every output that is not a view of its input
    peak_activation_bytes: int  # the most that is alive at one time, the input included
    uncounted: tuple[str, ...]  # operations whose multiply-adds are not in the sum


def cost(records: Sequence[LayerRecord], input_shape: Shape | None = None) -> Cost:
    """The sums. The input's shape is read from the first record that uses it unless it is given."""
    return Cost(
        parameters=sum(record.parameters for record in records),
        connections=sum(record.connections or 0 for record in records),
        multiply_adds=sum(record.multiply_adds or 0 for record in records),
        weight_bytes=FLOAT32_BYTES * sum(record.parameters for record in records),
        activation_bytes=sum(record.output_bytes for record in records),
        peak_activation_bytes=peak_activation_bytes(records, input_shape),
        uncounted=tuple(record.name for record in records if record.multiply_adds is None),
    )


def peak_activation_bytes(records: Sequence[LayerRecord], input_shape: Shape | None = None) -> int:
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
    input_bytes = FLOAT32_BYTES
    for extent in shape:
        input_bytes *= extent
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
