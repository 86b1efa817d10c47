"""A layer or a module of a registered network, counted like a block that was written by hand."""

from convatlas.analysis.block_count import BYTES, BlockCount, StepCount
from convatlas.analysis.quantities import QUANTITIES, select_layers
from convatlas.analysis.receptive_field import path_fields
from convatlas.analysis.trace import trace_network
from convatlas.errors import UsageError
from convatlas.records import LayerRecord

NONLINEAR = ("relu", "leaky_relu", "prelu", "tanh", "sigmoid", "elu", "squash")


def count_layer(network: str, layer: str) -> BlockCount:
    """The counts of one layer, of all layers below a module, or of a sum of them, `a + b`.

    The receptive field is that of the last of them, on the network's input, over its longest path.

    Raises:
        UsageError: no such network or layer.
    """
    records = trace_network(network)
    chosen = select_layers(layer, records, {record.name: record for record in reversed(records)})
    if not chosen:
        raise UsageError(f"{network} has no layer {layer!r}: `convatlas show {network}` lists them")
    fields = path_fields(records, chosen[-1].index)
    field, stride = (fields[-1].size, int(fields[-1].stride[0])) if fields else ((0, 0), 0)
    side = (field[0], field[-1]) if field else (0, 0)
    return BlockCount(f"{network}:{layer}", tuple(map(_step, chosen)), side, stride)


def _step(record: LayerRecord) -> StepCount:
    output = record.output_shape[1:3] if len(record.output_shape) == 3 else None
    return StepCount(
        None,
        (output[0], output[1]) if output else None,
        weights=QUANTITIES["weights"]([record], ()),
        parameters=record.parameters,
        connections=record.connections or 0,
        multiply_adds=record.multiply_adds or 0,
        nonlinearities=int(record.kind in NONLINEAR),
        activation_bytes=record.output_bytes or BYTES,
        arithmetic=record.name,
    )
