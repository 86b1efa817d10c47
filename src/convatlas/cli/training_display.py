"""What `convatlas train` shows: a progress bar, a line for each epoch, and the last words of a run."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convatlas.cli.common import console, duration, print_json, progress
from convatlas.structures import SCORES


class EpochDisplay:
    """A progress bar on a terminal; a line for each epoch on anything."""

    def __init__(self, bar: Any, epochs: int, *, quiet: bool) -> None:
        self.bar, self.quiet, self.epochs = bar, quiet, epochs
        self.since: float | None = None  # when the last epoch ended
        # rich draws a task the moment it is added, so every field that a column names must be there from the start
        self.task = bar.add_task("epoch 1", total=None, speed="", loss="", error="")

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
            error="" if math.isnan(now.error) else f"error {100 * now.error:.2f}%",
        )

    def note(self, sentence: str) -> None:
        if not self.quiet:
            self.bar.console.print(f"convatlas: {sentence}", highlight=False, soft_wrap=True)

    def epoch(self, row: dict[str, Any]) -> None:
        now = time.monotonic()
        each = row["seconds"] if self.since is None else now - self.since  # the first has no test before it
        self.since, left = now, each * (self.epochs - row["epoch"])
        skipped = self.epochs > 30 and row["epoch"] % (self.epochs // 20) and row["epoch"] != self.epochs
        if self.quiet or skipped:
            return
        others = [name for name in SCORES if name in row]  # in the place of the test error, where a task has them
        reached = [f"{SCORES[name]} {100 * row[name]:5.2f}%" for name in others]
        test = "  ".join(reached) if reached else f"error {100 * row['test_error']:5.2f}%"
        error = f"  error {100 * row['train_error']:5.2f}%" if "train_error" in row else ""
        speed = f"{row['images_per_s']:,.0f}" if row["images_per_s"] >= 10 else f"{row['images_per_s']:.2g}"
        console().print(
            f"epoch {row['epoch']:>3}/{self.epochs}   "
            f"train loss {row['train_loss']:.4f}{error}   "
            f"test loss {row['test_loss']:.4f}  {test}   "
            f"{speed} images/s" + (f"   {duration(left)} left" if left else "")
        )


@contextmanager
def epoch_display(epochs: int, *, quiet: bool) -> Iterator[EpochDisplay]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()]
    columns += [TextColumn(f"{{task.fields[{name}]}}") for name in ("speed", "loss", "error")]
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=quiet or not terminal.is_terminal) as bar:
        yield EpochDisplay(bar, epochs, quiet=quiet)


def write_report(trained: Any, data: Any) -> Path:
    from convatlas import report

    with progress("Writing the report") as step:
        return report.write(trained.run.path, trained.evaluation, data.test, on_progress=step)


def summarise(trained: Any, recipe: Any, page: Path | None, *, json: bool) -> None:
    """The last words of a run: what was reached, what was published and how the two compare, and where to look."""
    from convatlas import report
    from convatlas.structures import Evaluation

    result = trained.evaluation
    if not isinstance(result, Evaluation):
        summarise_scores(trained, recipe, page, json=json)
        return
    n = len(result.labels)
    wrong = round(result.top1_error * n)
    low, high = report.error_interval(result)
    beside = report.beside(result, recipe, trained.run.rows())
    if json:
        print_json(
            {
                "network": recipe.network,
                "recipe": recipe.variant,
                "run": str(trained.run.path),
                "report": str(page) if page else None,
                "protocol": result.protocol,
                "test_error": result.top1_error,
                "top5_error": result.top5_error,
                "test_errors": wrong,
                "test_samples": n,
                "interval_95": [low, high],
                "training_seconds": trained.seconds,
                "expected": recipe.expected,
                "published": asdict(beside.result) if beside.result else None,
                "comparison": beside.sentence,
            }
        )
        return
    kept = "best epoch (chosen on the same samples)" if recipe.keep == "best" else "last epoch"
    console().print(
        f"\n[bold]test error {100 * result.top1_error:.2f}%[/] ({wrong} of {n:,}; 95% interval {100 * low:.2f} to "
        f"{100 * high:.2f}%), {result.protocol}, {kept}, trained in {trained.seconds:.0f} s"
    )
    if beside.result or recipe.expected:
        console().print(f"published: {beside.result or recipe.expected}", markup=False)
    if beside.result:
        console().print(f"  {beside.sentence}", markup=False, style="dim")
    console().print(f"run folder {trained.run.path}")
    if page:
        console().print(
            f"report     {page}: curves, confusion, the worst mistakes, filters, feature maps and the proof; "
            "open it in a browser"
        )


def summarise_scores(trained: Any, recipe: Any, page: Path | None, *, json: bool) -> None:
    """The last words of a run of another task than classification."""
    result = trained.evaluation
    scores = result.scores()
    if json:
        print_json(
            {
                "network": recipe.network,
                "recipe": recipe.variant,
                "run": str(trained.run.path),
                "report": str(page) if page else None,
                "protocol": result.protocol,
                "test_error": result.error,
                "test_loss": result.loss,
                **scores,
                "training_seconds": trained.seconds,
                "expected": recipe.expected,
            }
        )
        return
    kept = "best epoch (chosen on the same pictures)" if recipe.keep == "best" else "last epoch"
    reached = ", ".join(f"{SCORES[name]} {100 * value:.2f}%" for name, value in scores.items() if name in SCORES)
    console().print(f"\n[bold]{reached}[/], {result.protocol}, {kept}, trained in {trained.seconds:.0f} s")
    if recipe.expected:
        console().print(f"expected: {recipe.expected}", markup=False)
    console().print(f"run folder {trained.run.path}")
    if page:
        console().print(f"report     {page}: open it in a browser")
