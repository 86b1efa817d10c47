"""`convatlas eval`: a trained network on labelled pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.common import console, print_json, progress, warn


def command(
    source: Annotated[
        str, typer.Argument(metavar="RUN|NAME", help="A run folder, or a network's name with --weights.")
    ],
    weights: Annotated[Path | None, typer.Option(help="A weights file for a network's name.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Other data with the same classes; by default the run's own.")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per forward pass.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Test error with its 95% interval, loss, and a table of classes, on the test part of the data."""
    from convatlas import inference, report

    opened = inference.open_source(source, weights)
    where = inference.resolve_device(device)
    with progress("Evaluating") as step:
        dataset, found = inference.evaluate_source(
            opened, data, root=data_root, batch_size=batch_size, device=where, on_progress=step
        )
    low, high = report.error_interval(found)
    rows = report.class_rows(found)
    if json:
        print_json({
            "network": opened.name, "data": dataset.name, "samples": len(found.labels), "seconds": found.seconds,
            "top1_error": found.top1_error, "top1_error_interval_95": [low, high], "top5_error": found.top5_error,
            "loss": found.loss, "classes": [asdict(row) for row in rows],
            "problems": [asdict(problem) for problem in found.problems],
        })  # fmt: skip
    else:
        show(opened.name, dataset.name, found, (low, high), rows)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def show(network: str, dataset: str, found: Any, interval: tuple[float, float], rows: list[Any]) -> None:
    """The same as text: `found` is an Evaluation, `rows` are report.ClassRow."""
    from rich.table import Table

    from convatlas.report import percent

    out = console()
    top5 = f", top-5 {percent(found.top5_error)}" if found.top5_error is not None else ""
    low, high = interval
    out.print(f"{network} on {dataset}: {len(found.labels):,} test pictures, {found.seconds:.1f} s", markup=False)
    out.print(f"error {percent(found.top1_error)} (95% interval {percent(low)} to {percent(high)}){top5}")
    out.print(f"loss {found.loss:.4f}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", no_wrap=True)
    for heading in ("n", "recall", "precision", "F1"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.name, f"{row.n:,}", percent(row.recall), percent(row.precision), percent(row.f1))
    out.print(table, markup=False)
