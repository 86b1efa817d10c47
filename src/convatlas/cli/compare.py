"""`convatlas compare`: networks side by side, as a table, a page, CSV or JSON."""

import csv as csv_module
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from convatlas.cli.common import console, print_json, progress, warn
from convatlas.readable import amount, memory, milliseconds, scaled
from convatlas.structures import UsageError

if TYPE_CHECKING:
    from convatlas.analysis.timing import Timing
    from convatlas.report.comparison import Entry


def command(
    names: Annotated[list[str], typer.Argument(metavar="RUN|NAME...", help="Names of networks, or run folders.")],
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images in a batch; repeatable. By default 1 and 8.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What runs are tested on; by default their own data.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    side: Annotated[
        int | None, typer.Option(min=1, metavar="PIXELS", help="Sides of the input; by default each network's own.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="For all timing together; what does not fit is cut, and named.")] = 480,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page with charts here.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of text.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Networks side by side on this machine: accuracy, multiply-adds, parameters, memory, latency and its spread.

    Accuracy is the published one for a name, and measured for a run; numbers stand beside one another only where they
    are of the same data by the same protocol. All are timed in turns on the CPU.
    """
    from convatlas.report import comparison, comparison_page

    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--seconds is {seconds}; expected a number above 0")
    if csv and json:
        raise UsageError("--csv with --json; expected one of them")
    request = comparison.Request(
        tuple(str(Path(name).expanduser()) if name.startswith("~") else name for name in names),
        tuple(sorted(set(batch or (1, 8)))),
        data,
        data_root and data_root.expanduser(),
        side,
        seconds,
    )
    with progress("Timing") as step:
        entries = comparison.compare(
            request, on_estimate=lambda found: warn(str(found)), on_progress=lambda _, done, total: step(done, total)
        )
    if json:
        print_json(comparison_page.values(entries))
    elif csv:
        print_csv(entries)
    else:
        print_tables(entries)
    if out is not None:
        from convatlas.report.html import save

        save(out.expanduser(), comparison_page.render(entries))
    for entry in entries:
        for note in entry.notes:
            warn(f"{comparison.label(entry)}: {note}")


def print_tables(entries: "list[Entry]") -> None:
    """Cost and speed of each network, then every accuracy with its data, protocol and source."""
    from rich.table import Table

    from convatlas.report.comparison import label
    from convatlas.report.comparison_page import groups

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in ("network", "parameters", "MACs", "batch", r"ms \[quartiles]", "images/s", "memory"):
        table.add_column(column, justify="left" if column == "network" else "right", overflow="fold")
    for entry in entries:
        known = (scaled(entry.cost.parameters), scaled(entry.cost.multiply_adds)) if entry.cost else ("-", "-")
        for number, size in enumerate(entry.memory_bytes or (None,)):
            timing = entry.timings.get(size) if size is not None else None
            table.add_row(
                *((escape(label(entry)), *known) if number == 0 else ("",) * 3),
                "-" if size is None else str(size),
                escape(spread(timing)) if timing else "-",
                amount(timing.images_per_s) if timing else "-",
                "-" if size is None else memory(entry.memory_bytes[size]),
            )
    out = console()
    out.print(table)
    for group in groups(entries):
        own = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for column in ("network", "%", "points/M", "data", "protocol", "source"):
            own.add_column(column, justify="right" if column in ("%", "points/M") else "left", overflow="fold")
        for row in group.rows:
            one = row.accuracy
            source = f"{one.source}, {one.note}" if one.note else one.source
            texts = (
                row.name,
                f"{100 * one.value:.2f}",
                amount(row.density),
                one.data,
                one.protocol or "one view",
                source,
            )
            own.add_row(*map(escape, texts))
        out.print(f"\n[bold]{escape(group.title)}[/]")
        out.print(own)
    if unknown := [label(entry) for entry in entries if not entry.accuracies]:
        out.print(f"\nno accuracy is known of {', '.join(unknown)}", markup=False)


def spread(timing: "Timing") -> str:
    """The median and the quartiles."""
    low, high = timing.quartiles_ms
    return f"{milliseconds(timing.latency_ms)} [{milliseconds(low)}, {milliseconds(high)}]"


CSV_NETWORK = ("name", "network", "input_shape", "top1_accuracy", "accuracy_from", "parameters", "multiply_adds")
CSV_BATCH = (
    "batch",
    "passes",
    "latency_ms",
    "quartile1_ms",
    "quartile3_ms",
    "images_per_s",
    "memory_bytes",
    "energy_j",
    "notes",
)


def print_csv(entries: "list[Entry]") -> None:
    writer = csv_module.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*CSV_NETWORK, *CSV_BATCH))
    for entry in entries:
        shape = "x".join(map(str, entry.input_shape or ()))
        known = (entry.name, entry.network, shape, entry.accuracy, entry.accuracy_from)
        cost = (entry.cost.parameters, entry.cost.multiply_adds) if entry.cost else ("", "")
        notes = "; ".join(entry.notes)
        for size, held in entry.memory_bytes.items() or ((None, None),):
            t = entry.timings.get(size) if size is not None else None
            times = (t.passes, t.latency_ms, *t.quartiles_ms, t.images_per_s) if t else ("",) * 5
            writer.writerow((*known, *cost, size, *times, held, t.energy_j if t else "", notes))
