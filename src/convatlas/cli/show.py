"""`convatlas show`: the layer table of a network."""

import csv
import re
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.arguments import complete_network
from convatlas.cli.common import console, print_json
from convatlas.cli.show_facts import print_facts
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError
from convatlas.readable import integer, memory, scaled, shape
from convatlas.records import LayerRecord, NetworkCard, Shape

if TYPE_CHECKING:
    from convatlas.analysis.cost import Cost, LayerCost
    from convatlas.analysis.receptive_field import ReceptiveField
    from convatlas.facts import Fact


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
    layers: tuple["Row", ...]
    facts: tuple["Fact", ...]  # what papers state about it, and surveys


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    record: LayerRecord
    cost: "LayerCost"
    field: "ReceptiveField | None"


def command(
    name: Annotated[
        str, typer.Argument(autocompletion=complete_network, help="A network; `convatlas list` shows all names.")
    ],
    output_format: Annotated[Format, typer.Option("--format", help="How to print the table.")] = Format.text,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Input shape. [default: published]")
    ] = None,
    costs: Annotated[
        bool, typer.Option("--cost", help="Show FLOPs, memory that is held, bytes moved and FLOPs per byte instead.")
    ] = False,
    no_facts: Annotated[
        bool, typer.Option("--no-facts", help="Leave out what the paper states, below the table.")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the network instead, as its paper's figure would.")
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=0, max=9, help="Parts of a name that stay apart when drawn; 0 draws every layer."),
    ] = None,
) -> None:
    """The layer table of a network: operation, output, parameters, connections, multiply-adds, memory, receptive field.

    For one sample in float32. A receptive field of "11 / 4" sees 11 x 11 pixels, and its neighbour starts 4 pixels on.
    With --cost: FLOPs (a multiply-add is two), activations held while a layer runs, and bytes that it moves.
    """
    if fold is not None and draw is None:
        raise UsageError("--fold is for drawings; expected --draw FILE.svg with it")
    page = collect(name, None if input_shape is None else parse_shape(input_shape))
    if draw is not None:
        write_drawing(page, draw, fold)
        return
    columns = COST_COLUMNS if costs else COLUMNS
    if output_format is Format.text:
        print_text(page, columns)
        if not no_facts:
            print_facts(page.card.name, page.facts)
    elif output_format is Format.markdown:
        print_markdown(page, columns)
    else:
        {Format.csv: print_csv, Format.json: print_page_json}[output_format](page)


def write_drawing(page: Page, path: Path, fold: int | None) -> None:
    """Writes the network as SVG; makes the folder.

    Raises:
        UsageError: the file is not called .svg.
    """
    from convatlas.analysis.trace import trace_network
    from convatlas.visualise.drawing import draw_network

    if path.suffix.lower() != ".svg":
        raise UsageError(f"--draw is {path}; expected a name that ends in .svg")
    svg = draw_network(page.card.name, trace_network(page.card.name, page.input_shape), fold=fold)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, encoding="utf-8")
    console().print(f"{path}: {page.card.name}, {len(svg) / 1000:.0f} kB; open it in a browser", markup=False)


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
    from convatlas.analysis.cost import cost, layer_cost
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
        layers=tuple(
            Row(record, layer_cost(record), field)
            for record, field in rows
            if not (record.kind in VIEWS and "/" in record.name)
        ),
        facts=facts.fact_rows(facts.lookup(card.name)) if ledger else (),
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


def _sides(values: tuple[int | float, ...], *, always: bool = False) -> str:
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
        f" {memory(sums.peak_activation_bytes)} alive at once ({memory(sums.peak_bytes)} with what the kernels hold)",
        f"{scaled(sums.flops)} FLOPs (a multiply-add is two) · {memory(sums.moved_bytes)} moved"
        + (f" · {sums.intensity:.3g} FLOPs per byte" if sums.intensity else ""),
    )
    left_out = (("multiply-adds", sums.uncounted), ("FLOPs", sums.uncounted_flops))
    lines = (*lines, *subtotals(page))
    return (*lines, *(f"not counted as {what}: {', '.join(names)}" for what, names in left_out if names))


def subtotals(page: Page) -> tuple[str, ...]:
    """ "conv: 14.71 M parameters (10.6%), 15.35 G multiply-adds (99.2%), in 13 layers", by kind of layer."""
    kinds: dict[str, list[LayerRecord]] = {}
    for row in page.layers:
        kinds.setdefault(row.record.kind, []).append(row.record)
    lines = []
    for kind, records in kinds.items():
        parameters = sum(record.parameters for record in records)
        multiply_adds = sum(record.multiply_adds or 0 for record in records)
        if not parameters and not multiply_adds:
            continue
        parts = [
            f"{scaled(count) or 0} {what} ({100 * count / total:.1f}%)"
            for what, count, total in (
                ("parameters", parameters, page.cost.parameters),
                ("multiply-adds", multiply_adds, page.cost.multiply_adds),
            )
            if count and total
        ]
        layers = f"{len(records)} layer{'s' if len(records) > 1 else ''}"
        lines.append(f"{kind.replace('_', ' ')}: {', '.join(parts)}, in {layers}")
    return tuple(lines) if len(lines) > 1 else ()


CELLS = {
    column.name: column
    for column in (
        Column("layer", style="cyan"),
        Column("operation", left_out=6),
        Column("output"),
        Column("parameters", right=True, left_out=4),
        Column("connections", right=True, left_out=1),
        Column("MACs", right=True),
        Column("FLOPs", right=True),
        Column("memory", right=True, left_out=2),
        Column("held", right=True),
        Column("moved", right=True, left_out=5),
        Column("FLOPs/B", right=True),
        Column("field", right=True, left_out=3),
    )
}
COLUMNS = ("layer", "operation", "output", "parameters", "connections", "MACs", "memory", "field")
COST_COLUMNS = ("layer", "operation", "output", "parameters", "MACs", "FLOPs", "memory", "held", "moved", "FLOPs/B")
LEFT_ALIGNED = ("layer", "operation", "output")


def print_text(page: Page, columns: tuple[str, ...] = COLUMNS) -> None:
    from rich.text import Text

    out = console()
    out.print(Text(f"{page.card.name}: {page.title}", style="bold"))
    for line in totals(page):
        out.print(Text(line))
    out.print()
    rows = [text_cells(row) for row in page.layers]
    cells = [[row[column] for column in columns] for row in rows]
    print_table(out, [CELLS[column] for column in columns], cells, everything="--format csv")


def text_cells(row: Row) -> dict[str, str]:
    """The cells of a layer by column."""
    record, costs = row.record, row.cost
    return {
        "layer": record.name,
        "operation": operation(record),
        "output": shape(record.output_shape),
        "parameters": integer(record.parameters),
        "connections": scaled(record.connections),
        "MACs": scaled(record.multiply_adds),
        "FLOPs": scaled(costs.flops),
        "memory": memory(record.output_bytes),
        "held": memory(record.alive_bytes),
        "moved": memory(costs.moved_bytes),
        "FLOPs/B": "" if not costs.intensity else f"{costs.intensity:.3g}",
        "field": field_text(row.field),
    }


def print_markdown(page: Page, columns: tuple[str, ...] = COLUMNS) -> None:
    lines = [f"## {page.card.name}: {page.title}", "", *(f"- {line}" for line in totals(page)), ""]
    lines += [f"| {' | '.join(columns)} |", f"|{''.join(':--|' if c in LEFT_ALIGNED else '--:|' for c in columns)}"]
    for row in page.layers:
        record, costs = row.record, row.cost
        exact = {"connections": record.connections, "MACs": record.multiply_adds, "FLOPs": costs.flops}
        cells = text_cells(row) | {name: integer(value) for name, value in exact.items()}
        cells["layer"] = f"`{record.name}`"
        lines.append(f"| {' | '.join(cells[column] for column in columns)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def layer_values(row: Row) -> dict[str, Any]:
    """A layer as plain values."""
    values = asdict(row.record)
    for name in ("index", "inputs", "input_shapes", "reads"):
        del values[name]
    values["operation"] = operation(row.record)
    values |= {name: value for name, value in asdict(row.cost).items() if name not in values}
    values["intensity"] = row.cost.intensity
    values["receptive_field"] = None if row.field is None else asdict(row.field)
    return values


CSV_COLUMNS = ("name", "operation", "output_shape", "parameters", "connections", "multiply_adds", "output_bytes")
CSV_COSTS = ("flops", "alive_bytes", "scratch_bytes", "moved_bytes", "intensity")


def print_csv(page: Page) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*CSV_COLUMNS, *CSV_COSTS, "receptive_field_size", "receptive_field_stride"))
    for row in page.layers:
        values = layer_values(row) | {"output_shape": "x".join(map(str, row.record.output_shape))}
        sizes = ("", "") if row.field is None else (_sides(row.field.size), _sides(row.field.stride))
        writer.writerow((*(values[name] for name in (*CSV_COLUMNS, *CSV_COSTS)), *sizes))


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
            "layers": [layer_values(row) for row in page.layers],
            "facts": [asdict(fact) for fact in page.facts],
        }
    )
