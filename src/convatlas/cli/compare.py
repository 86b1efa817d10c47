"""`convatlas compare`: networks side by side, as a table, a page, CSV or JSON."""

import csv as csv_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.common import console, print_json, progress
from convatlas.cli.numbers import integer, memory, scaled
from convatlas.io import write_file
from convatlas.structures import ConvatlasError, UsageError

if TYPE_CHECKING:
    from convatlas.report.comparison import Entry


def command(
    names: Annotated[list[str], typer.Argument(metavar="RUN|NAME...", help="Names of networks, or run folders.")],
    batch: Annotated[
        list[int] | None, typer.Option(help="Pictures in a batch; repeatable. By default 1 and 8.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What runs are tested on; by default their own data.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    side: Annotated[
        int | None, typer.Option(min=1, metavar="PIXELS", help="Sides of the input; by default each network's own.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="For all timing together; three passes each at least.")] = 480,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page with charts here.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="CSV instead of text.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Networks side by side on this machine: accuracy, multiply-adds, parameters, memory, latency and its spread.

    Accuracy is the published one for a name, and measured for a run. All are timed in turns on the CPU.
    """
    from convatlas.report import comparison

    batches = sorted(set(batch or (1, 8)))
    if batches[0] < 1:
        raise UsageError(f"--batch is {batches[0]}; expected at least 1")
    with progress("Timing") as step:
        entries = comparison.compare(
            names, batches, data=data, data_root=data_root, side=side, budget_s=seconds,
            on_progress=lambda _, done, total: step(done, total),
        )  # fmt: skip
    if json:
        print_json(comparison.values(entries))
    elif csv:
        print_csv(entries)
    else:
        print_table(entries)
    if out is not None:
        try:
            write_file(out, comparison.render(entries))
        except OSError as error:
            raise ConvatlasError(f"{out} can't be written: {error.strerror}") from error


def print_table(entries: "list[Entry]") -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in (
        "network",
        "accuracy",
        "parameters",
        "MACs",
        "batch",
        r"ms \[quartiles]",
        "images/s",
        "memory",
        "points/M",
    ):
        table.add_column(column, justify="left" if column == "network" else "right", overflow="fold")
    for entry in entries:
        for number, (size, timing) in enumerate(entry.timings.items()):
            low, high = timing.quartiles_ms
            accuracy = "-" if entry.accuracy is None else f"{100 * entry.accuracy:.2f}%"
            density = "-" if entry.density is None else f"{entry.density:.3g}"
            first = (entry.name, accuracy, integer(entry.cost.parameters), scaled(entry.cost.multiply_adds))
            table.add_row(
                *(first if number == 0 else ("",) * 4),
                str(size),
                f"{timing.latency_ms:.1f} [{low:.1f}, {high:.1f}]".replace("[", r"\["),
                f"{timing.images_per_s:.3g}",
                memory(entry.memory_bytes[size]),
                density if number == 0 else "",
            )
    console().print(table)


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
)


def print_csv(entries: "list[Entry]") -> None:
    writer = csv_module.writer(sys.stdout, lineterminator="\n")
    writer.writerow((*CSV_NETWORK, *CSV_BATCH))
    for entry in entries:
        known = (entry.name, entry.network, "x".join(map(str, entry.input_shape)), entry.accuracy, entry.accuracy_from)
        for size, t in entry.timings.items():
            row = (*known, entry.cost.parameters, entry.cost.multiply_adds, size, t.passes, t.latency_ms)
            writer.writerow((*row, *t.quartiles_ms, t.images_per_s, entry.memory_bytes[size], t.energy_j))
