"""`convatlas train`: a network, a recipe and a data set become a run folder with a report."""

import os
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.common import console, warn
from convatlas.cli.data_notes import report_data
from convatlas.cli.training_display import epoch_display, summarise, write_report
from convatlas.cli.training_plan import begun, planned, with_options
from convatlas.structures import UsageError

if TYPE_CHECKING:
    from convatlas.training import Recipe

ALONE = "--resume goes on with a run as it began; it goes with --device, --workers, --save-every and --data-root only"


def command(
    network: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A network of `convatlas list`, unless --recipe is a file.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A name (digits, mnist, cifar10, svhn, imagenet ...), a folder with one sub-folder a class, a .csv, "
            ".tsv or .jsonl list, or .npz, .parquet or .tar files; `convatlas data check` looks at it first. "
            "[default: digits]"
        ),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where the known data sets lie.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch a known data set that is absent.")] = False,
    test_data: Annotated[str | None, typer.Option(help="The test part, where --data does not bring its own.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="published, modern, another of the network's recipes, or a file: RUN/recipe.toml; with --weights, "
            "transfer."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Trained weights to start from, with a new head for other classes.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any field: averaging=Ema(decay=0.999), optimizer.lr=0.1"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes; the schedule is stretched over them.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="The optimiser's learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and augmentation. [default: 0]")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default runs/NAME-DATA-TIME.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")] = None,
    save_every: Annotated[
        str, typer.Option(help="When to save within an epoch: a number of steps (500), or of minutes (10m).")
    ] = "5m",
    find_lr: Annotated[bool, typer.Option("--find-lr", help="Draw loss against learning rate; no run.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures too many for memory.")] = 2,
    keep_epochs: Annotated[
        str | None, typer.Option(help="Epochs whose weights stay, such as 1,2,5,10: `explain --method evolution`.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write report.html at the end.")] = True,
    json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Train a network and leave a run folder: weights, metrics and a report to open in a browser.

    The published recipe is the paper's own; `modern` is one good default for today. `--resume RUN` goes on with a run
    that was stopped or killed, at the very step. With --weights a trained network learns other classes: the head
    first, then all layers, the first ones slowest. Under torchrun all processes train one network together.
    """
    every = replace(parse_save_every(save_every), epochs=parse_epochs(keep_epochs))
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if resume is None and restarted and out is not None and (out / "recipe.toml").exists():
        resume = out  # torchrun has started the processes again after one of them died
    elif resume is not None and any(
        value is not None
        for value in (network, data, test_data, recipe, weights, settings, epochs, batch_size, lr, seed, out)
    ):
        raise UsageError(ALONE)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and out is None and resume is None:
        raise UsageError("--out is needed under torchrun, so that every process and every restart means the same run")

    if resume is not None:
        chosen, loaded = begun(resume, data_root)
    else:
        chosen, loaded = planned(network, recipe, weights, data, data_root, download, test_data, epochs, seed)
        chosen = with_options(chosen, batch_size, lr, settings or [])
    quiet = json or os.environ.get("RANK", "0") != "0"
    if not quiet:
        describe(chosen, loaded)
    where = None if device == "auto" else device
    if find_lr:
        from convatlas.cli.find_lr import draw

        draw(chosen, loaded, out, device=where, workers=workers, json=json)
        return

    from convatlas.training import fit

    default = Path("runs") / f"{chosen.network}-{loaded.name}-{datetime.now():%Y%m%d-%H%M%S}"
    with ExitStack() as stack:
        display = stack.enter_context(epoch_display(chosen.epochs, quiet=quiet))
        trained = fit(
            chosen,
            loaded,
            resume or out or default,
            device=where,
            workers=workers,
            overwrite=overwrite,
            resume=resume is not None,
            save_every=every,
            on_loading=display.loading,
            on_progress=display.step,
            on_epoch=display.epoch,
            on_note=display.note,
        )
    if os.environ.get("RANK", "0") != "0":
        return
    for problem in trained.evaluation.problems:
        warn(f"skipped {problem.path}: {problem.reason}")
    page = write_report(trained, loaded) if report else None
    summarise(trained, chosen, page, json=json)


def describe(chosen: "Recipe", loaded: Any) -> None:
    from convatlas import registry

    card = registry.card(chosen.network)
    console().print(f"[bold]{card.name}[/]  {card.summary}")
    console().print(
        f"{loaded.name}: {len(loaded.train):,} to learn from, {len(loaded.test):,} to test on, "
        f"{len(loaded.classes)} classes\n"
        f"{chosen.variant} recipe, {chosen.epochs} epochs of {chosen.batch_size}: {chosen.source}"
    )
    for note in chosen.notes:
        console().print(f"  {note}", style="dim")
    if card.task == "classification":
        report_data(loaded)


def parse_save_every(text: str) -> Any:
    """ "500" is steps, "10m" minutes."""
    from convatlas.training import SaveEvery

    number = text.removesuffix("m")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if value <= 0 or (number == text and value != int(value)):
        raise UsageError(f"--save-every is {text!r}; expected a number of steps (500) or of minutes (10m)")
    return SaveEvery(steps=int(value), minutes=None) if number == text else SaveEvery(minutes=value)


def parse_epochs(text: str | None) -> tuple[int, ...]:
    """ "1,2,5" -> (1, 2, 5)."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--keep-epochs is {text!r}; expected epochs from 1 such as 1,2,5")
    return tuple(int(part) for part in parts)
