"""What a network, or a part of it, adds up to: the quantities of the ledger's claims, counted from a trace."""

import math
from collections.abc import Callable, Sequence

from convatlas.records import LayerRecord, Shape


def is_weight_layer(record: LayerRecord) -> bool:
    """Whether the operation has connections: convolution, fully connected, and own layers that count themselves."""
    return bool(record.connections)


def weight_layers(records: Sequence[LayerRecord]) -> int:
    """The weight layers on the longest path, by which papers give a network's depth."""
    depths: list[int] = []
    for record in records:
        before = max((depths[source] for source in record.inputs if source >= 0), default=0)
        depths.append(before + is_weight_layer(record))
    return max(depths, default=0)


def _weights(record: LayerRecord) -> int:
    positions = 1 if record.kind == "fc" else math.prod(record.output_shape[1:])
    return (record.multiply_adds or 0) // positions if record.kind in ("conv", "fc") else 0


QUANTITIES: dict[str, Callable[[Sequence[LayerRecord], Shape], int]] = {
    "parameters": lambda records, _: sum(record.parameters for record in records),
    "connections": lambda records, _: sum(record.connections or 0 for record in records),
    "multiply_adds": lambda records, _: sum(record.multiply_adds or 0 for record in records),
    "convolution_multiply_adds": lambda records, _: sum(
        record.multiply_adds or 0 for record in records if record.kind in ("conv", "sparse_conv")
    ),
    "units": lambda records, _: sum(math.prod(record.output_shape) for record in records if is_weight_layer(record)),
    "units_with_input": lambda records, shape: math.prod(shape) + QUANTITIES["units"](records, shape),
    "weights": lambda records, _: sum(map(_weights, records)),
    "parameters_without_deconvolutions": lambda records, _: sum(
        record.parameters for record in records if record.kind != "deconv"
    ),
    "boxes": lambda records, _: records[-1].output_shape[0],
    "weight_layers": lambda records, _: weight_layers(records),
}


def select_layers(
    layer: str | None, records: Sequence[LayerRecord], by_name: dict[str, LayerRecord]
) -> Sequence[LayerRecord]:
    """The whole network; one layer; all layers below a path; or the sum of such parts, `a + b`."""
    if layer is None:
        return records
    parts = layer.split(" + ")
    if len(parts) > 1:
        return [record for part in parts for record in select_layers(part, records, by_name)]
    return [by_name[layer]] if layer in by_name else [r for r in records if r.name.startswith(f"{layer}.")]
