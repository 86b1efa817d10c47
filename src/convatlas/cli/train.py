"""`convatlas train`: a network, a recipe and a data set become a run folder with a report."""

import os
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.arguments import complete_network, parse_finite, validate_folder, validate_output
from convatlas.cli.common import progress, warn
from convatlas.cli.training_display import summarise
from convatlas.cli.training_run import Manner, describe, train_one
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from convatlas.training import SaveEvery

ALONE = (
    "--resume goes on with a run as it began; it goes with --device, --workers, --save-every, --tracker and "
    "--data-root only"
)
DATA, LEARNING, RUN = "Data", "Learning", "The run"  # panels of the help


def command(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=complete_network,
            help="A network of `convatlas list`, unless --recipe is a file.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A name (digits, mnist, cifar10, svhn, imagenet ...), a folder with one sub-folder a class, a .csv, "
            ".tsv or .jsonl list, or .npz, .parquet or .tar files; `convatlas data check` looks at it first. "
            "[default: digits]",
            rich_help_panel=DATA,
        ),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Where the known data sets lie.", rich_help_panel=DATA)] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a known data set that is absent.", rich_help_panel=DATA)
    ] = False,
    test_data: Annotated[
        str | None, typer.Option(help="The test split, where --data does not bring its own.", rich_help_panel=DATA)
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(
            help="Holds out this fraction of the training split, class by class, to choose the epoch on; the test "
            "split is then seen once.",
            rich_help_panel=DATA,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validation: K runs, each with another K-th of the training split as validation split, and a "
            "summary with mean and 95% interval.",
            metavar="K",
            rich_help_panel=DATA,
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(
            help="Learns from this fraction of the training split only, class by class.", rich_help_panel=DATA
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="published, modern, another of the network's recipes, or a file: RUN/recipe.toml; with --weights, "
            "transfer.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Trained weights to start from, with a new head for other classes.", rich_help_panel=LEARNING
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Any field of the recipe: averaging=Ema(decay=0.999), optimizer.lr=0.1",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs; the schedule is rescaled.", rich_help_panel=LEARNING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples per step, of all processes together.", rich_help_panel=LEARNING)
    ] = None,
    lr: Annotated[float | None, typer.Option(help="The optimizer's learning rate.", rich_help_panel=LEARNING)] = None,
    scale_lr: Annotated[
        bool,
        typer.Option(
            "--scale-lr",
            help="Scales the recipe's learning rate in proportion to --batch-size.",
            rich_help_panel=LEARNING,
        ),
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Another input size, such as 160 or 360x480 (height x width).",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    balance: Annotated[
        bool,
        typer.Option(
            "--balance", help="Shows every class equally often, rare ones repeatedly.", rich_help_panel=LEARNING
        ),
    ] = False,
    class_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the classes in the loss: balanced (1 / frequency), for masks also median_frequency or "
            "inverse_log, or a number for each class: 1,2.5",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="PATIENCE",
            help="Ends after so many epochs without a lower error, and keeps the best epoch.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of weights, order, augmentation and splits. [default: 0]", rich_help_panel=RUN),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default runs/NAME-DATA-TIME.", rich_help_panel=RUN)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in --out.", rich_help_panel=RUN)
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.", rich_help_panel=RUN)
    ] = None,
    save_every: Annotated[
        str,
        typer.Option(
            help="When to save within an epoch: a number of steps (500), or of minutes (10m).", rich_help_panel=RUN
        ),
    ] = "5m",
    keep_epochs: Annotated[
        str | None,
        typer.Option(
            help="Epochs whose weights stay, such as 1,2,5,10: `explain --method evolution`.", rich_help_panel=RUN
        ),
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="mlflow or wandb, besides TensorBoard's events in the run folder; repeatable. Both work offline "
            "(MLFLOW_TRACKING_URI, WANDB_MODE=offline).",
            rich_help_panel=RUN,
        ),
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Draw loss against learning rate; no run.", rich_help_panel=LEARNING)
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=RUN)] = "auto",
    workers: Annotated[
        int,
        typer.Option(min=0, help="Data-loading workers, where the images do not fit in memory.", rich_help_panel=RUN),
    ] = 2,
    report: Annotated[bool, typer.Option(help="Write report.html at the end.", rich_help_panel=RUN)] = True,
    json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.", rich_help_panel=RUN)] = False,
) -> None:
    """Train a network and leave a run folder: weights, metrics and a report to open in a browser.

    The published recipe is the paper's own; `modern` is one good default for today. `--resume RUN` goes on with a run
    that was stopped or killed, at the very step. With --weights a trained network learns other classes: the head
    first, then all layers, the first ones slowest. Under torchrun all processes train one network together.
    """
    from convatlas.training import SaveEvery
    from convatlas.training.asked import Asked
    from convatlas.training.folds import fold_folder, is_folder_of_folds
    from convatlas.training.plan import begun, check_start, is_recipe_file, prepare

    every = replace(parse_save_every(save_every, SaveEvery()), epochs=parse_epochs(keep_epochs))
    asked = Asked(
        network=network, recipe=recipe, weights=weights, data=data, test_data=test_data, val_fraction=val_fraction,
        folds=folds, fraction=fraction, epochs=epochs, batch_size=batch_size, lr=lr, scale_lr=scale_lr, size=size,
        balance=balance, class_weights=class_weights, early_stopping=early_stopping, seed=seed,
        settings=tuple(settings or ()),
    )  # fmt: skip
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if resume is None and restarted and out is not None and (out / "recipe.toml").exists():
        resume = out  # torchrun has started the processes again after one of them died
    elif resume is not None and (asked.given or out is not None or overwrite or find_lr):
        raise UsageError(ALONE)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and out is None and resume is None:
        raise UsageError("--out is needed under torchrun, so that every process and every restart means the same run")
    if folds is not None and (several or find_lr):
        raise UsageError(f"--folds goes with {'one process' if several else 'training, not with --find-lr'}")
    if find_lr:
        validate_output(out, "--out", (".png",))
    else:
        validate_folder(out, "--out")

    if network is None and resume is None and not (recipe and is_recipe_file(recipe)):
        raise UsageError("NAME is missing: a network of `convatlas list`, or --recipe with the recipe.toml of a run")
    quiet = json or os.environ.get("RANK", "0") != "0"
    where, names = None if device == "auto" else device, tuple(tracker or ())
    all_folds = resume is not None and is_folder_of_folds(resume)
    began = resume if resume is None or not all_folds else fold_folder(resume, 1)
    plan = None if resume else prepare(asked, data_root)
    if plan is not None:
        check_epochs(every, plan.max_epochs)
    new = out if resume is None and folds is None and not find_lr else None
    check_start(new, device=where, trackers=names, overwrite=overwrite)
    with nullcontext() if quiet else progress("Reading the data"):
        chosen, loaded = plan.load(download=download) if plan else begun(began or Path(), data_root)
    check_epochs(every, chosen.epochs)
    if not quiet:
        describe(chosen, loaded)
    if find_lr:
        from convatlas.cli.find_lr import draw

        draw(chosen, loaded, out, device=where, workers=workers, json=json)
        return
    default = Path("runs") / f"{chosen.network}-{loaded.name}-{datetime.now():%Y%m%d-%H%M%S}"
    manner = Manner(
        out=resume or out or default, device=where, workers=workers, overwrite=overwrite, resume=resume is not None,
        save_every=every, trackers=names, report=report, quiet=quiet,
    )  # fmt: skip
    if folds is not None or all_folds:
        from convatlas.cli.training_folds import train_folds

        train_folds(chosen, manner, json=json)
        return
    trained, page = train_one(chosen, loaded, manner)
    if os.environ.get("RANK", "0") != "0":
        return
    for problem in trained.evaluation.problems:
        warn(f"skipped {problem.path}: {problem.reason}")
    summarise(trained, chosen, page, json=json)


def check_epochs(every: "SaveEvery", epochs: int) -> None:
    """Raises UsageError where weights of an epoch are to stay that there is not."""
    if beyond := [epoch for epoch in every.epochs if epoch > epochs]:
        raise UsageError(f"--keep-epochs names epoch {beyond[0]}, but the run has {epochs}")


def parse_save_every(text: str, usual: "SaveEvery") -> "SaveEvery":
    """ "500" is steps, "10m" minutes."""
    number = text.removesuffix("m")
    try:
        value = parse_finite(number, "--save-every")
    except UsageError:
        value = 0.0
    if value <= 0 or (number == text and value != int(value)):
        raise UsageError(f"--save-every is {text!r}; expected a number of steps (500) or of minutes (10m)")
    return replace(usual, steps=int(value), minutes=None) if number == text else replace(usual, minutes=value)


def parse_epochs(text: str | None) -> tuple[int, ...]:
    """ "1,2,5" -> (1, 2, 5)."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--keep-epochs is {text!r}; expected epochs from 1 such as 1,2,5")
    return tuple(int(part) for part in parts)
