"""One run of `convatlas train`: what it says before, the training with its display, and the report."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.cli.common import console, literal, progress
from convatlas.cli.tasks import TASKS
from convatlas.terminal.epochs import epoch_display

if TYPE_CHECKING:
    from convatlas.training import Recipe, SaveEvery


def describe(chosen: "Recipe", loaded: Any) -> None:
    from convatlas import registry
    from convatlas.report.tables import plural
    from convatlas.training.summary import chooses

    card = registry.card(chosen.network)
    say = console().print
    say(f"[bold]{card.name}[/]  {literal(card.summary)}")
    epochs = plural(chosen.epochs, "epoch", "epochs")
    if chosen.stated_steps is not None:
        epochs = f"{chosen.stated_steps:,} steps ({epochs})"
    use = "choose the epoch on" if chooses(chosen) else "watch the training by"
    validation = f"{len(loaded.val):,} to {use}, " if loaded.val is not None else ""
    say(
        f"{literal(loaded.name)}: {len(loaded.train):,} to learn from, {validation}{len(loaded.test):,} to test on, "
        f"{len(loaded.classes)} {TASKS[card.task].classes}\n"
        f"{literal(chosen.variant)} recipe, {epochs}, batches of {chosen.batch_size:,}: {literal(chosen.source)}"
    )
    if loaded.val_serves_as_test:
        say(
            "  The data have no test split, so their validation split is tested on; --test-data gives another.",
            style="dim",
        )
    if loaded.val is None and chooses(chosen):
        say(
            "  There is no split to choose on, so the epoch is chosen on the test split, whose error will seem too "
            "low; --val-fraction 0.1 holds one out.",
            style="dim",
        )
    for note in chosen.notes:
        say(f"  {literal(note)}", style="dim")
    TASKS[card.task].report_data(loaded)


@dataclass(frozen=True)
class Manner:
    """Where and how a run is made, whatever it learns."""

    out: Path
    device: str | None
    workers: int
    overwrite: bool
    resume: bool
    save_every: "SaveEvery"
    trackers: tuple[str, ...]
    report: bool
    quiet: bool


def train_one(chosen: Any, loaded: Any, manner: Manner) -> tuple[Any, Path | None]:
    """One run with its display, and the path of its report."""
    from convatlas.training import fit

    with epoch_display(chosen.epochs, quiet=manner.quiet) as display:
        trained = fit(
            chosen,
            loaded,
            manner.out,
            device=manner.device,
            workers=manner.workers,
            overwrite=manner.overwrite,
            resume=manner.resume,
            save_every=manner.save_every,
            trackers=manner.trackers,
            on_loading=display.loading,
            on_progress=display.step,
            on_epoch=display.epoch,
            on_note=display.note,
        )
    wanted = manner.report and os.environ.get("RANK", "0") == "0"
    return trained, write_report(trained, loaded) if wanted else None


def write_report(trained: Any, data: Any) -> Path:
    from convatlas import report

    with progress("Writing the report") as step:
        return report.write(trained.run.path, trained.evaluation, data.test, on_progress=step)
