"""A count as one line of arithmetic, as one would write it beside a table: "96 x (3 x 11 x 11 + 1)"."""

import math
from collections.abc import Callable, Sequence

from convatlas.records import LayerRecord

_KINDS_SHOWN = 4


def arithmetic(quantity: str, records: Sequence[LayerRecord], count: Callable[[Sequence[LayerRecord]], int]) -> str:
    """How a count of a network, or of a part of it, comes about.

    Args:
        quantity: "parameters", "multiply_adds", "connections", "units" ...
        records: the layers that are counted.
        count: the count of any of them.

    Returns:
        For one layer its formula where it is an ordinary convolution or fully connected layer; for several the sum by
        kind of layer. Empty where neither says more than the number.
    """
    if len(records) == 1:
        return layer_arithmetic(quantity, records[0])
    kinds: dict[str, list[LayerRecord]] = {}
    for record in records:
        kinds.setdefault(record.kind, []).append(record)
    sums = sorted(((count(group), len(group), kind) for kind, group in kinds.items()), reverse=True)
    parts = [f"{total:,} in {number} {kind}" for total, number, kind in sums if total]
    if len(parts) < 2:
        return ""
    rest = [f"{sum(total for total, _, _ in sums[_KINDS_SHOWN:]):,} in others"] if len(parts) > _KINDS_SHOWN else []
    return " + ".join(parts[:_KINDS_SHOWN] + rest)


def layer_arithmetic(quantity: str, record: LayerRecord) -> str:
    """The formula of one convolution or fully connected layer; empty for others."""
    if record.kind not in ("conv", "fc") or not record.input_shapes:
        return ""
    outputs, inputs = record.output_shape[0], record.input_shapes[0][0] // (record.groups or 1)
    window = [str(inputs), *map(str, record.kernel or ())]
    weights = " x ".join(window)
    bias = " + 1" if record.parameters > outputs * inputs * math.prod(record.kernel or (1,)) else ""
    fan_in = f"({weights}{bias})" if bias else weights
    positions = [str(side) for side in record.output_shape[1:]]
    match quantity:
        case "parameters":
            return f"{outputs} x {fan_in}"
        case "connections":
            return " x ".join([*positions, str(outputs), fan_in])
        case "multiply_adds" | "convolution_multiply_adds":
            return " x ".join([*positions, str(outputs), weights])
        case "units":
            return " x ".join([*positions, str(outputs)]) if positions else ""
        case _:
            return ""
