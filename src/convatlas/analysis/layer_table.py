"""A network's layer table in the form of the ledger, written down from a trace: to be corrected against the paper."""

import re
from collections.abc import Sequence
from itertools import groupby

from convatlas.analysis.quantities import is_weight_layer
from convatlas.records import LayerRecord

_NUMBER = re.compile(r"\d+")


def layer_table(records: Sequence[LayerRecord]) -> str:
    """The rows of the layers with weights, and of pools, as the ledger's TOML has them.

    Neighbours that differ in one number of their names alone become one row, as `conv{1..2}`.

    Args:
        records: of a trace.

    Example:
        >>> from convatlas.analysis.trace import trace_network
        >>> print(layer_table(trace_network("lenet5")).splitlines()[-1])
        {name = "output", op = "rbf", out = [10], params = 0, macs = 840}
    """
    rows: dict[str, str] = {}
    for record in records:
        if record.parameters or is_weight_layer(record) or record.kind.endswith("pool"):
            rows.setdefault(
                record.name, _fields(record)
            )  # a layer that runs twice has its parameters in its first record
    lines = []
    for fields, group in groupby(rows.items(), key=lambda row: row[1]):
        lines += [f'{{name = "{name}", {fields}}}' for name in fold([name for name, _ in group])]
    return "\n".join(lines)


def _fields(record: LayerRecord) -> str:
    """`op = "conv", out = [6, 28, 28], ...`"""
    values: list[tuple[str, object]] = [("op", f'"{record.kind}"'), ("out", list(record.output_shape))]
    if record.kind in ("conv", "deconv") or record.kind.endswith("pool"):
        window = (("kernel", record.kernel), ("stride", record.stride), ("padding", record.padding))
        values += [(key, list(value)) for key, value in window if value is not None]
    if record.groups not in (None, 1):
        values.append(("groups", record.groups))
    if record.parameters or is_weight_layer(record):
        values.append(("params", record.parameters))
        if record.multiply_adds is not None:
            values.append(("macs", record.multiply_adds))
    return ", ".join(f"{key} = {value}" for key, value in values)


def fold(names: Sequence[str]) -> list[str]:
    """Names in a row that count up in one place become a pattern.

    Args:
        names: in order.

    Example:
        >>> fold(["a.conv1", "a.conv2", "a.conv3", "b"])
        ['a.conv{1..3}', 'b']
    """
    folded: list[str] = []
    start = 0
    while start < len(names):
        length, pattern = 1, names[start]
        while start + length < len(names):
            longer = _pattern(names[start : start + length + 1])
            if longer is None:
                break
            length, pattern = length + 1, longer
        folded.append(pattern)
        start += length
    return folded


def _pattern(names: Sequence[str]) -> str | None:
    """One pattern for all the names; None where they do not count up in one place."""
    if len({_NUMBER.sub("#", name) for name in names}) > 1:
        return None
    numbers = [[int(match[0]) for match in _NUMBER.finditer(name)] for name in names]
    varying = [place for place, values in enumerate(zip(*numbers, strict=True)) if len(set(values)) > 1]
    if len(varying) != 1:
        return None
    values = [row[varying[0]] for row in numbers]
    if values != list(range(values[0], values[0] + len(values))):
        return None
    match = list(_NUMBER.finditer(names[0]))[varying[0]]
    return f"{names[0][: match.start()]}{{{values[0]}..{values[-1]}}}{names[0][match.end() :]}"
