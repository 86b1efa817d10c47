"""`convatlas data labels`: images whose label is probably wrong, as a table, CSV and a page."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.arguments import make_parent, validate_output
from convatlas.cli.common import console, literal, print_json, progress, visible, warn
from convatlas.cli.tables import Column, print_table

SHOWN = 30
COLUMNS = (
    Column("image", wrap=20),
    Column("split", left_out=1),
    Column("label", wrap=8),
    Column("rather", wrap=8),
    Column("p(label)", right=True, left_out=2),
    Column("p(rather)", right=True),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


def labels(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of a classifier.")],
    data_root: Annotated[Path | None, typer.Option(help="Where the known data sets lie.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts that the images are dealt out to.")] = 5,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train the run's recipe anew for each fold: slower, and finds errors that the run's network has been "
            "overfitted to.",
        ),
    ] = False,
    as_csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE.csv", help="All of them, as CSV.")] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="A page with a thumbnail of each, the first 200.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """Name the images of a run's data whose label is probably wrong, the most suspicious first.

    Each image is judged by a model that has not learned its label: a linear classifier on the features of the run's
    network, fitted to the other folds, or with --retrain whole trainings. cleanlab decides which labels are wrong; it
    has to be installed.
    """
    validate_output(as_csv, "--csv", (".csv",))
    validate_output(page, "--page", (".html", ".htm"))
    from convatlas import inference
    from convatlas.inference.evaluate import load_data
    from convatlas.inference.label_issues import find_label_issues

    opened = inference.open_source(str(run))
    dataset = load_data(opened, None, data_root)
    with progress("Training the folds" if retrain else "Looking at the images") as step:
        found = find_label_issues(
            opened,
            dataset,
            way="retrain" if retrain else "probe",
            folds=folds,
            device=inference.resolve_device(device),
            on_progress=step,
        )
    if as_csv is not None:
        write_csv(make_parent(as_csv), found.issues)
    if page is not None:
        from convatlas.report import labels as report
        from convatlas.report.page import save

        splits = {"train": dataset.train, "test": dataset.test}
        save(make_parent(page), report.page(found, splits, f"Labels of {dataset.name}"))
    if json:
        print_json({"run": str(run), "data": dataset.name, **asdict(found)})
    else:
        show(found, dataset.name, as_csv, page)
    for problem in found.problems:
        warn(f"{problem.path}: {problem.reason}")


def show(found: Any, name: str, as_csv: Path | None, page: Path | None) -> None:
    from convatlas.report.labels import WAYS
    from convatlas.report.paths import below_common

    say = console().print
    say(f"[bold]{len(found.issues):,} of {found.images:,} labels[/] of {literal(name)} are probably wrong; judged by "
        f"{WAYS[found.way]}, {100 * found.accuracy:.1f}% of which agree with the labels")  # fmt: skip
    shown = found.issues[:SHOWN]
    names = below_common([issue.path for issue in shown])
    rows = [
        [visible(path), issue.split, visible(issue.label), visible(issue.suggested),
         f"{100 * issue.label_probability:.1f}%", f"{100 * issue.suggested_probability:.1f}%"]
        for path, issue in zip(names, shown, strict=True)
    ]  # fmt: skip
    if rows:
        print_table(console(), COLUMNS, rows)
    if len(found.issues) > SHOWN:
        say(f"... and {len(found.issues) - SHOWN:,} more; --csv FILE.csv or --json has all", style="dim")
    for kind, path in (("CSV", as_csv), ("page", page)):
        if path is not None:
            say(f"{kind} {literal(path)}", soft_wrap=True)


def write_csv(path: Path, issues: Any) -> None:
    """A line an image; text that a spreadsheet would take for a formula has an apostrophe before it."""
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "split", "label", "suggested", "label_probability", "suggested_probability"))
        for issue in issues:
            texts = (harmless(text) for text in (issue.path, issue.split, issue.label, issue.suggested))
            writer.writerow((*texts, f"{issue.label_probability:.6f}", f"{issue.suggested_probability:.6f}"))


def harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
