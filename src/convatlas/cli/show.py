"""`convatlas show`: the layer table of a network."""

import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.common import console, print_json
from convatlas.cli.numbers import integer, memory, scaled, shape
from convatlas.structures import LayerRecord, NetworkCard, Shape, UsageError

if TYPE_CHECKING:
    from convatlas.analysis.cost import Cost
    from convatlas.analysis.receptive_field import ReceptiveField


class Format(StrEnum):
    """How the table is printed."""

    text = "text"
    markdown = "markdown"
    csv = "csv"
    json = "json"


@dataclass(frozen=True)
class Page:
    """All that is shown of a network."""

    card: NetworkCard
    title: str
    citation: str
    input_shape: Shape
    cost: "Cost"
    layers: tuple[tuple[LayerRecord, "ReceptiveField | None"], ...]


def command(
    name: Annotated[str, typer.Argument(help="A network; `convatlas list` shows all names.")],
    output_format: Annotated[Format, typer.Option("--format", help="How to print the table.")] = Format.text,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Another input than the published one.")
    ] = None,
) -> None:
    """The layer table of a network: operation, output, parameters, connections, multiply-adds, memory, receptive field.

    For one sample in float32. A receptive field of "11 / 4" sees 11 x 11 pixels, and its neighbour starts 4 pixels on.
    """
    page = collect(name, None if input_shape is None else parse_shape(input_shape))
    {Format.text: print_text, Format.markdown: print_markdown, Format.csv: print_csv, Format.json: print_page_json}[
        output_format
    ](page)


def parse_shape(text: str) -> Shape:
    """ "3,224,224" -> (3, 224, 224)."""
    parts = text.lower().replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input is {text!r}; expected three positive numbers such as 3,224,224")
    return tuple(int(part) for part in parts)


def collect(name: str, input_shape: Shape | None = None) -> Page:
    """Traces the network and looks up its paper.

    Raises:
        UsageError: unknown name, or an input that the network can't take.
    """
    from convatlas import facts, registry
    from convatlas.analysis.cost import cost
    from convatlas.analysis.kinds import VIEWS
    from convatlas.analysis.receptive_field import receptive_fields
    from convatlas.analysis.trace import trace_network

    card = registry.card(name)
    records = trace_network(card.name, input_shape)
    ledger = facts.network(card.name)
    try:
        paper = facts.paper(card.paper)
        year = "" if re.search(r"\b(19|20)\d\d\b", paper.venue) else f", {paper.year}"
        citation = f"{paper.authors}: {paper.title}. {paper.venue}{year}. {paper.id}"
    except KeyError:
        citation = card.paper
    rows = zip(records, receptive_fields(records), strict=True)
    return Page(
        card=card,
        title=ledger.title if ledger else card.summary,
        citation=citation,
        input_shape=input_shape or card.input_shape,
        cost=cost(records, input_shape or card.input_shape),
        layers=tuple((record, field) for record, field in rows if not (record.kind in VIEWS and "/" in record.name)),
    )


def operation(record: LayerRecord) -> str:
    """ "conv 5x5 / 2, pad 2, groups 2"."""
    text = record.kind.replace("_", " ")
    if record.kernel is not None and record.kind != "subsample":
        text += f" {_sides(record.kernel, always=True)}"
    if record.stride is not None and set(record.stride) != {1}:
        text += f" / {_sides(record.stride)}"
    if record.padding is not None and any(record.padding):
        text += f", pad {_sides(record.padding)}"
    if record.dilation is not None and set(record.dilation) != {1}:
        text += f", dilation {_sides(record.dilation)}"
    if record.groups is not None and record.groups != 1:
        text += f", groups {record.groups}"
    return text


def _sides(values: tuple[int, ...], *, always: bool = False) -> str:
    return str(values[0]) if len(set(values)) == 1 and not always else "x".join(map(str, values))


def field_text(field: "ReceptiveField | None") -> str:
    """ "11 / 4": side and stride in pixels; nothing where it is not defined."""
    return "" if field is None else f"{_sides(field.size)} / {_sides(field.stride)}"


def totals(page: Page) -> tuple[str, ...]:
    """The lines above the table."""
    sums = page.cost
    lines = (
        page.citation,
        f"input {shape(page.input_shape)} · {sums.parameters:,} parameters · {scaled(sums.multiply_adds)} multiply-adds"
        f" · {scaled(sums.connections)} connections",
        f"weights {memory(sums.weight_bytes)} · activations {memory(sums.activation_bytes)}, of which at most"
        f" {memory(sums.peak_activation_bytes)} alive at once",
    )
    return (*lines, f"not counted as multiply-adds: {', '.join(sums.uncounted)}") if sums.uncounted else lines


COLUMNS = ("layer", "operation", "output", "parameters", "connections", "MACs", "memory", "field")
LEFT_OUT_FIRST = ("connections", "memory", "field")  # where the window is too narrow
GAP = 2


def print_text(page: Page) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(f"{page.card.name}: {page.title}", style="bold"))
    for line in totals(page):
        out.print(Text(line))
    out.print()
    rows = [text_cells(record, field) for record, field in page.layers]
    kept = columns_that_fit(rows, out.width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in kept:
        left = column in ("layer", "operation", "output")
        style = "cyan" if column == "layer" else ""
        table.add_column(column, justify="left" if left else "right", overflow="fold", style=style)
    for row in rows:
        table.add_row(*(Text(row[column]) for column in kept))
    out.print(table)
    if len(kept) < len(COLUMNS):
        missing = ", ".join(column for column in COLUMNS if column not in kept)
        out.print(Text(f"\nleft out, the window is too narrow: {missing} (--format csv has everything)", style="dim"))


def text_cells(record: LayerRecord, field: "ReceptiveField | None") -> dict[str, str]:
    """The cells of a layer by column."""
    counts = (scaled(record.connections), scaled(record.multiply_adds), memory(record.output_bytes), field_text(field))
    return dict(
        zip(
            COLUMNS,
            (record.name, operation(record), shape(record.output_shape), integer(record.parameters), *counts),
            strict=True,
        )
    )


def columns_that_fit(rows: Sequence[dict[str, str]], width: int) -> tuple[str, ...]:
    """All columns, less those that can be missed until the rest fits."""
    kept = list(COLUMNS)
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in COLUMNS}
    for column in LEFT_OUT_FIRST:
        if sum(widths[name] for name in kept) + GAP * (len(kept) - 1) > width:
            kept.remove(column)
    return tuple(kept)


def print_markdown(page: Page) -> None:
    lines = [f"## {page.card.name}: {page.title}", "", *(f"- {line}" for line in totals(page)), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|:--|:--|:--|--:|--:|--:|--:|--:|"]
    for record, field in page.layers:
        numbers = (integer(value) for value in (record.parameters, record.connections, record.multiply_adds))
        cells = (f"`{record.name}`", operation(record), shape(record.output_shape), *numbers)
        lines.append(f"| {' | '.join((*cells, memory(record.output_bytes), field_text(field)))} |")
    sys.stdout.write("\n".join(lines) + "\n")


def layer_values(record: LayerRecord, field: "ReceptiveField | None") -> dict[str, Any]:
    """A layer as plain values."""
    values = asdict(record)
    del values["index"], values["inputs"], values["input_shapes"]
    values["operation"] = operation(record)
    values["receptive_field"] = None if field is None else asdict(field)
    return values


def print_csv(page: Page) -> None:
    names = ("name", "operation", "output_shape", "parameters", "connections", "multiply_adds", "output_bytes")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*names, "receptive_field_size", "receptive_field_stride"))
    for record, field in page.layers:
        values = layer_values(record, field) | {"output_shape": "x".join(map(str, record.output_shape))}
        sizes = ("", "") if field is None else (_sides(field.size), _sides(field.stride))
        writer.writerow((*(values[name] for name in names), *sizes))


def print_page_json(page: Page) -> None:
    print_json(
        {
            "name": page.card.name,
            "title": page.title,
            "paper": page.card.paper,
            "citation": page.citation,
            "task": page.card.task,
            "input_shape": page.input_shape,
            "totals": asdict(page.cost),
            "layers": [layer_values(record, field) for record, field in page.layers],
        }
    )
