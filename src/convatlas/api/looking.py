"""`convatlas.show`, `diff`, `verify` and `compare`: networks and their numbers as tables."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convatlas.analysis import diff as differences
from convatlas.analysis import diff_words
from convatlas.analysis import verify as verification
from convatlas.analysis.cost import Cost, cost
from convatlas.analysis.receptive_field import ReceptiveField, receptive_fields
from convatlas.analysis.trace import trace_network
from convatlas.api.arguments import suggest_arguments
from convatlas.api.pages import Page
from convatlas.api.progress import show_progress
from convatlas.api.rows import Cell, Rows
from convatlas.errors import UsageError
from convatlas.records import LayerRecord, Shape
from convatlas.report import comparison
from convatlas.report.comparison import Entry
from convatlas.report.comparison_page import render
from convatlas.report.page import save

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Layer:
    """One operation of a network, with what a unit of its output sees of the input."""

    record: LayerRecord
    field: ReceptiveField | None


@dataclass(frozen=True, repr=False)
class LayerTable(Rows[Layer]):
    """The operations of a forward pass of one sample, in their order; `cost` has the sums."""

    network: str
    input_shape: Shape
    cost: Cost

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each operation."""
        return [
            {
                "layer": layer.record.name,
                "operation": layer.record.kind,
                "output": " x ".join(map(str, layer.record.output_shape)),
                "parameters": layer.record.parameters,
                "multiply_adds": layer.record.multiply_adds,
                "receptive_field": layer.field.size[0] if layer.field else None,
                "stride": layer.field.stride[0] if layer.field else None,
            }
            for layer in self.items
        ]


@suggest_arguments
def show(network: str, *, input_shape: Shape | None = None) -> LayerTable:
    """The layer table of a network: shapes, parameters, multiply-adds, receptive fields.

    Args:
        network: a name or an alias.
        input_shape: (C, H, W); None: the published input.

    Raises:
        UsageError: an unknown name, or an input that the network can't take.

    >>> import convatlas
    >>> table = convatlas.show("lenet5")
    >>> table.cost.parameters, table[0].record.output_shape
    (60000, (6, 28, 28))
    """
    records = trace_network(network, input_shape)
    layers = tuple(Layer(*pair) for pair in zip(records, receptive_fields(records), strict=True))
    return LayerTable(layers, network, input_shape or records[0].input_shapes[0], cost(records, input_shape))


@dataclass(frozen=True, repr=False)
class Verification(Rows[verification.Row]):
    """Every published number of a network beside the recomputed one."""

    @property
    def holds(self) -> bool:
        """Whether no number fails; disputed ones, each with its reason, do not count."""
        return not any(row.verdict == "fails" for row in self.items)

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each number."""
        return [
            {
                "quantity": row.quantity,
                "layer": row.layer,
                "printed": row.printed,
                "computed": row.computed,
                "verdict": row.verdict,
                "where": row.where,
                "reason": row.reason,
            }
            for row in self.items
        ]


@suggest_arguments
def verify(network: str) -> Verification:
    """Recomputes every published number of a network and lays it beside the printed one.

    Raises:
        UsageError: an unknown name.

    >>> import convatlas
    >>> convatlas.verify("alexnet").holds
    True
    """
    return Verification(verification.verify(network))


@dataclass(frozen=True, repr=False)
class NetworkDifference(Rows[differences.Pair]):
    """The layers of two networks side by side; `sentences` say what was done differently."""

    before: differences.Network
    after: differences.Network
    sentences: tuple[str, ...]

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each change of a pair of layers, and for each layer that only one network has."""
        return [row for pair in self.items for row in _changes(pair)]

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def _changes(pair: differences.Pair) -> list[dict[str, Cell]]:
    names: dict[str, Cell] = {
        "before": pair.before.record.name if pair.before else None,
        "after": pair.after.record.name if pair.after else None,
    }
    if pair.before is None or pair.after is None:
        return [{**names, "quantity": "layer", "old": names["before"], "new": names["after"]}]
    return [
        {**names, "quantity": change.quantity, "old": change.before, "new": change.after} for change in pair.changes
    ]


@suggest_arguments
def diff(before: str, after: str) -> NetworkDifference:
    """What differs between two networks, in sentences and layer by layer.

    Raises:
        UsageError: an unknown name.

    >>> import convatlas
    >>> print(convatlas.diff("alexnet", "alexnet_owt").sentences[0])
    The input is 3 x 224 x 224 instead of 3 x 227 x 227.
    """
    found = differences.diff(before, after)
    return NetworkDifference(found.pairs, found.before, found.after, diff_words.sentences(found))


@dataclass(frozen=True, repr=False)
class Comparison(Rows[Entry]):
    """Networks side by side on this machine."""

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each network and batch; what did not fit into the seconds has no latency."""
        return [
            {
                "network": entry.name,
                "accuracy": entry.accuracy,
                "accuracy_from": entry.accuracy_from,
                "parameters": entry.cost.parameters if entry.cost else None,
                "multiply_adds": entry.cost.multiply_adds if entry.cost else None,
                "batch": batch,
                "latency_ms": timing.latency_ms if timing else None,
                "images_per_s": timing.images_per_s if timing else None,
                "memory_bytes": entry.memory_bytes.get(batch) if batch else None,
            }
            for entry in self.items
            for batch in entry.memory_bytes or (None,)
            for timing in (entry.timings.get(batch) if batch else None,)
        ]

    def left_out(self) -> list[str]:
        """Why numbers are absent."""
        return [f"{comparison.label(entry)}: {note}" for entry in self.items for note in entry.notes]

    def save(self, path: PathLike) -> Page:
        """Writes the page with charts.

        Raises:
            ConvatlasError: it can't be written.
        """
        return Page(save(Path(path).expanduser(), render(self.items)))


@suggest_arguments
def compare(
    *networks: str | os.PathLike[str],
    batches: Sequence[int] = (1, 8),
    data: str | None = None,
    data_root: PathLike | None = None,
    side: int | None = None,
    seconds: float = 60.0,
    progress: bool = True,
) -> Comparison:
    """Lays networks side by side: accuracy, multiply-adds, parameters, memory and latency on this machine's CPU.

    Args:
        networks: registered names, whose accuracy is the published one, or run folders, which are tested.
        batches: sizes of the batches to time.
        data: what runs are tested on; None: their own data.
        data_root: where known data sets lie.
        side: pixels of the input's sides; None: each network's own.
        seconds: for the whole comparison; what does not fit is cut, and `left_out()` names it.
        progress: show how far it is, in a terminal or a notebook.

    Raises:
        UsageError: no network, an unknown name, or an input that a network can't take.

    >>> import convatlas
    >>> table = convatlas.compare("lenet5", "caffe_lenet", batches=[1], seconds=0.2, progress=False)
    >>> [entry.network for entry in table]
    ['lenet5', 'caffe_lenet']
    """
    if not networks:
        raise UsageError("networks is empty; expected names of networks or run folders")
    sizes = sorted(set(batches))
    if not sizes or sizes[0] < 1:
        raise UsageError(f"batches is {list(batches)}; expected sizes from 1")
    with show_progress("Timing", shown=progress) as step:
        request = comparison.Request(
            tuple(os.fspath(network) for network in networks),
            tuple(sizes),
            data,
            None if data_root is None else Path(data_root).expanduser(),
            side,
            seconds,
        )
        entries = comparison.compare(request, on_progress=lambda _, done, total: step(done, total))
    return Comparison(tuple(entries))
