"""`convatlas train`: a network, a recipe and a data set become a run folder with a report."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.common import console, print_json, progress, warn


def command(
    network: Annotated[str, typer.Argument(metavar="NAME", help="A network of `convatlas list`.")],
    data: Annotated[
        str,
        typer.Option(
            help="A name (digits, mnist, cifar10, svhn, imagenet ...), a folder with one sub-folder a class, a .csv, "
            ".tsv or .jsonl list, or .npz, .parquet or .tar files; `convatlas data check` looks at it first."
        ),
    ] = "digits",
    data_root: Annotated[Path | None, typer.Option(help="Where the known data sets lie.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch a known data set that is absent.")] = False,
    test_data: Annotated[str | None, typer.Option(help="The test part, where --data does not bring its own.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="published, modern, or another of the network's recipes; with --weights, transfer."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Trained weights to start from, with a new head for other classes.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes; the schedule is stretched over them.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="The optimiser's learning rate.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and augmentation.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/NAME-DATA-TIME.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures too many for memory.")] = 2,
    report: Annotated[bool, typer.Option(help="Write report.html at the end.")] = True,
    json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Train a network and leave a run folder: weights, metrics and a report to open in a browser.

    The published recipe is the paper's own; `modern` is one good default for today. With --weights a trained network
    learns other classes: the head first, then all layers, the first ones slowest.
    """
    from convatlas import data as data_sets
    from convatlas import registry
    from convatlas.training import DataSource, adapted, fit

    card = registry.card(network)
    if not json:
        console().print(f"[bold]{card.name}[/]  {card.summary}")
    loaded = data_sets.load(data, root=data_root, download=download, test=test_data, seed=seed)
    chosen, preprocessing = choose(card, recipe, weights, loaded)
    if epochs is None:
        chosen = adapted(chosen, len(loaded.train))
    chosen = replace(
        chosen,
        epochs=epochs or chosen.epochs,
        batch_size=batch_size or chosen.batch_size,
        optimizer=with_rate(chosen, lr) if lr is not None else chosen.optimizer,
        preprocessing=chosen.preprocessing or preprocessing,
        seed=seed,
        data=DataSource(
            lasting(data), str(data_root.resolve()) if data_root else None, test_data and lasting(test_data)
        ),
    )
    out = out or Path("runs") / f"{card.name}-{loaded.name}-{datetime.now():%Y%m%d-%H%M%S}"
    if not json:
        console().print(
            f"{loaded.name}: {len(loaded.train):,} to learn from, {len(loaded.test):,} to test on, "
            f"{len(loaded.classes)} classes\n"
            f"{chosen.variant} recipe, {chosen.epochs} epochs of {chosen.batch_size}: {chosen.source}"
        )
        for note in chosen.notes:
            console().print(f"  {note}", style="dim")

    with epoch_display(chosen.epochs, quiet=json) as display:
        trained = fit(
            chosen,
            loaded,
            out,
            device=None if device == "auto" else device,
            workers=workers,
            overwrite=overwrite,
            on_loading=display.loading,
            on_progress=display.step,
            on_epoch=display.epoch,
        )
    for problem in trained.evaluation.problems:
        warn(f"skipped {problem.path}: {problem.reason}")
    page = write_report(trained, loaded) if report else None
    summarise(trained, chosen, page, json=json)


def choose(card: Any, variant: str | None, weights: Path | None, loaded: Any) -> tuple[Any, Any]:
    """The recipe and the preprocessing: the weights' own, where a network starts from some."""
    from convatlas import data as data_sets
    from convatlas import weights as trained
    from convatlas.training import find, start_from, transfer

    known = trained.read_card(weights) if weights else None
    theirs = trained.preprocessing_of(known) if known else None
    preprocessing = theirs or data_sets.default_preprocessing(card, loaded.train)
    if weights is None:
        return find(card.name, variant or "published", preprocessing=preprocessing), preprocessing
    path = lasting(str(weights))
    if variant in (None, "transfer"):
        return transfer(card, preprocessing, path, len(loaded.train)), preprocessing
    return start_from(path, find(card.name, variant, preprocessing=preprocessing)), preprocessing


def lasting(spec: str) -> str:
    """A path that holds from any folder; a name stays."""
    return os.path.abspath(spec) if os.sep in spec or os.path.exists(spec) else spec


def with_rate(recipe: Any, lr: float) -> Any:
    """The recipe's optimiser with another learning rate."""
    from convatlas.structures import UsageError

    if not hasattr(recipe.optimizer, "lr"):
        raise UsageError(f"--lr {lr} has no place in the {recipe.variant} recipe: its rates are the schedule's")
    return replace(recipe.optimizer, lr=lr)


class EpochDisplay:
    """A progress bar on a terminal; a line for each epoch on anything."""

    def __init__(self, bar: Any, epochs: int, *, quiet: bool) -> None:
        self.bar, self.quiet, self.epochs = bar, quiet, epochs
        self.task = bar.add_task("epoch 1", total=None)

    def loading(self, done: int, total: int) -> None:
        self.bar.update(self.task, description="reading pictures", completed=done, total=total)

    def step(self, now: Any) -> None:
        self.bar.update(
            self.task,
            description=f"epoch {now.epoch}/{now.epochs}",
            total=now.epochs * now.steps,
            completed=(now.epoch - 1) * now.steps + now.step,
            speed=f"{now.images_per_s:,.0f} images/s",
            loss=f"loss {now.loss:.4f}",
            error=f"error {100 * now.error:.2f}%",
        )

    def epoch(self, row: dict[str, Any]) -> None:
        skipped = self.epochs > 30 and row["epoch"] % (self.epochs // 20) and row["epoch"] != self.epochs
        if self.quiet or skipped:
            return
        console().print(
            f"epoch {row['epoch']:>3}/{self.epochs}   "
            f"train loss {row['train_loss']:.4f}  error {100 * row['train_error']:5.2f}%   "
            f"test loss {row['test_loss']:.4f}  error {100 * row['test_error']:5.2f}%   "
            f"{row['images_per_s']:,.0f} images/s"
        )


@contextmanager
def epoch_display(epochs: int, *, quiet: bool) -> Iterator[EpochDisplay]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()]
    columns += [TextColumn(f"{{task.fields[{name}]}}") for name in ("speed", "loss", "error")]
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=quiet or not terminal.is_terminal) as bar:
        display = EpochDisplay(bar, epochs, quiet=quiet)
        bar.update(display.task, speed="", loss="", error="")
        yield display


def write_report(trained: Any, data: Any) -> Path:
    from convatlas import report

    with progress("Writing the report"):
        return report.write(trained.run.path, trained.evaluation, data.test)


def summarise(trained: Any, recipe: Any, page: Path | None, *, json: bool) -> None:
    """The last words of a run: what was reached, what was expected, and where to look."""
    from convatlas.evaluation import wilson_interval

    result = trained.evaluation
    n = len(result.labels)
    wrong = round(result.top1_error * n)
    low, high = wilson_interval(wrong, n)
    if json:
        print_json(
            {
                "network": recipe.network,
                "recipe": recipe.variant,
                "run": str(trained.run.path),
                "report": str(page) if page else None,
                "test_error": result.top1_error,
                "test_errors": wrong,
                "test_samples": n,
                "interval_95": [low, high],
                "training_seconds": trained.seconds,
                "expected": recipe.expected,
            }
        )
        return
    kept = "best epoch (chosen on the same samples)" if recipe.keep == "best" else "last epoch"
    console().print(
        f"\n[bold]test error {100 * result.top1_error:.2f}%[/] ({wrong} of {n:,}; 95% interval {100 * low:.2f} to "
        f"{100 * high:.2f}%), {kept}, trained in {trained.seconds:.0f} s"
    )
    if recipe.expected:
        console().print(f"published: {recipe.expected}")
    console().print(f"run folder {trained.run.path}")
    if page:
        console().print(
            f"report     {page}: curves, confusion, the worst mistakes, filters, feature maps and the proof; "
            "open it in a browser"
        )
