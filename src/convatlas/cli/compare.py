"""`convatlas compare`: networks side by side, as a table, a page, CSV or JSON."""

import csv as csv_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from convatlas.cli.arguments import complete_network, validate_output
from convatlas.cli.common import console, print_json, progress, visible, warn
from convatlas.cli.tables import Column, print_table
from convatlas.errors import UsageError
from convatlas.readable import amount, memory, milliseconds, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convatlas.analysis.timing import Timing
    from convatlas.report.comparison import Entry


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|NAME...", autocompletion=complete_network, help="Names of networks, or run folders."
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="Only what papers printed, of all networks or of NAMES; nothing is timed."),
    ] = False,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images in a batch; repeatable. By default 1 and 8.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What runs are tested on; by default their own data.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    side: Annotated[
        int | None, typer.Option(min=1, metavar="PIXELS", help="Sides of the input; by default each network's own.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="For building, testing and timing; what does not fit is cut, and named.")
    ] = 480,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page with charts here.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of text.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Networks side by side on this machine: accuracy, multiply-adds, parameters, memory, latency and its spread.

    Accuracy is the published one for a name, and measured for a run; numbers stand beside one another only where they
    are of the same data by the same protocol. All are timed in turns on the CPU. `--published` prints the results of
    papers and releases of every task, speeds among them, and times nothing.
    """
    validate_output(out, "--out", (".html", ".htm"))
    if published:
        from convatlas.cli import published as results

        unused = {"--batch": batch, "--data": data, "--data-root": data_root, "--side": side}
        results.print_results(names or (), csv=csv, json=json, out=out, unused=unused)
        return
    if not names:
        raise UsageError("nothing to compare: expected names of networks or run folders, or --published")
    from convatlas.report import comparison, comparison_page

    if seconds <= 0:
        raise UsageError(f"--seconds is {seconds:g}; expected a number above 0")
    if data is not None and not any(Path(name).is_dir() for name in names):
        raise UsageError(f"--data is {data}, but no run is compared; expected a run folder that is tested on it")
    batches = tuple(sorted(set(batch or (1, 8))))
    request = comparison.Request(tuple(names), batches, data, data_root, side, seconds)
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

        save(out, comparison_page.render(entries))
    for entry in entries:
        for note in entry.notes:
            warn(f"{comparison.label(entry)}: {note}")


COST = (
    Column("network"), Column("parameters", right=True, left_out=3), Column("MACs", right=True),
    Column("batch", right=True), Column("ms [quartiles]", right=True), Column("images/s", right=True, left_out=2),
    Column("memory", right=True, left_out=4),
)  # fmt: skip
ACCURACY = (
    Column("network"), Column("%", right=True), Column("points/M", right=True, left_out=1), Column("data"),
    Column("protocol"), Column("source", wrap=12),
)  # fmt: skip


def print_tables(entries: "list[Entry]") -> None:
    """Cost and speed of each network, then every accuracy with its data, protocol and source."""
    from convatlas.report.comparison import label
    from convatlas.report.comparison_page import groups

    out = console()
    print_table(out, COST, [row for entry in entries for row in cost_rows(entry)])
    for group in groups(entries):
        rows = []
        for row in group.rows:
            one = row.accuracy
            source = f"{one.source}, {one.note}" if one.note else one.source
            percent = f"{100 * one.value:.2f}"
            rows.append((row.name, percent, amount(row.density), one.data, one.protocol or "one view", source))
        out.print(Text(f"\n{visible(group.title)}", style="bold"))
        print_table(out, ACCURACY, rows)
    if unknown := [label(entry) for entry in entries if not entry.accuracies]:
        out.print(Text(f"\nno accuracy is known of {visible(', '.join(unknown))}"))


def cost_rows(entry: "Entry") -> "Iterator[tuple[str, ...]]":
    """A row for each batch, each of them complete."""
    from convatlas.report.comparison import label

    if entry.cost is None:
        yield (label(entry), *("-",) * (len(COST) - 1))
        return
    known = (label(entry), scaled(entry.cost.parameters), scaled(entry.cost.multiply_adds))
    for size, held in entry.memory_bytes.items():
        timing = entry.timings.get(size)
        times = (spread(timing), amount(timing.images_per_s)) if timing else ("-", "-")
        yield (*known, str(size), *times, memory(held))


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
