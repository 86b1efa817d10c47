"""What `convatlas train` is to do: recipe and data, from names, files and options, or from a run that stopped."""

import math
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.cli.arguments import parse_finite
from convatlas.errors import UsageError

if TYPE_CHECKING:
    from convatlas.data import DataSet
    from convatlas.training import DataSource, Recipe

# What is settled before --set has its turn, so that a recipe with another value would not tell of its run.
SETTLED = {
    "network": "the network is NAME",
    "seed": "the data are split by it; --seed sets it",
    "data": "the data are loaded; --data, --data-root, --test-data, --val-fraction, --folds and --fraction set them",
}
RULES = ("balanced", "median_frequency", "inverse_log")  # by which class weights follow from the data


@dataclass(frozen=True)
class Asked:
    """The options of `train` that say what is learned and from what; None and False where they are absent."""

    network: str | None = None
    recipe: str | None = None
    weights: Path | None = None
    data: str | None = None
    test_data: str | None = None
    val_fraction: float | None = None
    folds: int | None = None
    fraction: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    scale_lr: bool = False
    size: str | None = None
    balance: bool = False
    class_weights: str | None = None
    early_stopping: int | None = None
    seed: int | None = None
    settings: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        """The names of those that are there."""
        return [field.name for field in fields(self) if vars(self)[field.name] not in (None, False, ())]


def begun(run: Path, data_root: Path | None) -> "tuple[Recipe, DataSet]":
    """The recipe and the data of a run that is to go on, split as they were."""
    from convatlas.training import open_run
    from convatlas.training.recipe import read
    from convatlas.training.sources import load_data

    opened = open_run(run)
    chosen = read(opened.recipe)
    # With a record of the samples the split is made anew and compared with it, so that new files are noticed too.
    division = None if opened.samples.exists() else opened.division()
    return chosen, load_data(chosen.data, chosen.network, seed=chosen.seed, root=data_root, division=division)


def planned(asked: Asked, data_root: Path | None, download: bool) -> "tuple[Recipe, DataSet]":
    """A recipe by name or from a file with the options' changes, and the data that it is for."""
    from convatlas import data as data_sets
    from convatlas import registry
    from convatlas.data import lasting
    from convatlas.training import adapted, start_from
    from convatlas.training.recipe import on_data, read
    from convatlas.training.sources import load_data
    from convatlas.training.start_images import fed_as_trained

    network, recipe, weights = asked.network, asked.recipe, asked.weights
    written = read(Path(recipe)) if recipe and (recipe.endswith(".toml") or os.sep in recipe) else None
    if written is None and network is None:
        raise UsageError("NAME is missing: a network of `convatlas list`, or --recipe with the recipe.toml of a run")
    if written is not None and network is not None and registry.card(network).name != written.network:
        raise UsageError(f"NAME is {network}, but {recipe} trains {written.network}")
    card = registry.card(written.network if written else network or "")
    source = data_source(asked, written, data_root)
    check_annotated(card, asked, source)
    seed = asked.seed if asked.seed is not None else written.seed if written else 0
    loaded = load_data(source, card.name, seed=seed, download=download)
    if written is not None:
        preprocessing = data_sets.default_preprocessing(card, loaded.train)
        chosen = written if weights is None else start_from(lasting(str(weights)), written)
    else:
        chosen, preprocessing = choose(card, recipe, weights, loaded)
    if asked.epochs is None and written is None:
        chosen = adapted(chosen, len(loaded.train))
    if asked.epochs is not None:
        chosen = replace(chosen, epochs=asked.epochs)
    chosen = replace(
        chosen,
        preprocessing=chosen.preprocessing or preprocessing,
        seed=seed,
        data=source,
    )
    chosen = with_options(fed_as_trained(chosen), asked)
    return on_data(chosen, math.ceil(len(loaded.train) / chosen.batch_size)), loaded


def data_source(asked: Asked, written: "Recipe | None", data_root: Path | None) -> "DataSource":
    """Where the samples come from: the recipe's place and splits, unless options say otherwise."""
    from convatlas.data import lasting
    from convatlas.training import DataSource

    source = DataSource() if written is None else written.data
    if asked.data is not None:
        source = DataSource(lasting(asked.data))
    if asked.folds is not None and asked.val_fraction is not None:
        raise UsageError("--folds and --val-fraction both make a validation split; expected one of them")
    changes: dict[str, Any] = {"fraction": asked.fraction, "folds": asked.folds, "val_fraction": asked.val_fraction}
    if asked.folds is not None:
        changes |= {"fold": 1, "val_fraction": 0.0}
    elif asked.val_fraction is not None:
        source = replace(source, folds=None, fold=None)
    if data_root is not None:
        changes["root"] = str(data_root.resolve())
    if asked.test_data is not None:
        changes["test"] = lasting(asked.test_data)
    return replace(source, **{name: value for name, value in changes.items() if value is not None})


def check_annotated(card: Any, asked: Asked, source: "DataSource") -> None:
    """Raises UsageError for a task whose annotations the data can't have."""
    from convatlas.data.known import NAMES

    wanted = {"segmentation": "masks", "detection": "boxes", "pose": "joints"}.get(card.task)
    if wanted is None:
        return
    if asked.data is None and source.spec in NAMES:
        raise UsageError(
            f"--data is missing: {card.name} is for {card.task}; expected a folder of images with {wanted}"
        )
    if source.spec in NAMES:
        raise UsageError(
            f"--data {source.spec} has labels and no {wanted}; {card.name} is for {card.task}: expected a folder of "
            f"images with {wanted}"
        )


def choose(card: Any, variant: str | None, weights: Path | None, loaded: Any) -> tuple[Any, Any]:
    """The recipe and the preprocessing: the weights' own, where a network starts from some."""
    from convatlas import data as data_sets
    from convatlas import registry
    from convatlas import weights as trained
    from convatlas.data import lasting
    from convatlas.training import TRANSFER, find, start_from, variants

    known = trained.read_card(weights, card.name) if weights else None
    theirs = trained.preprocessing_of(known) if known else None
    preprocessing = theirs if theirs and card.task == "classification" else None
    if preprocessing is None:
        preprocessing = data_sets.default_preprocessing(card, loaded.train)
        if theirs:  # the window is the segmenter's, the values are what the weights were trained on
            kept = ("mean", "std", "channel_order")
            preprocessing = replace(preprocessing, **{field: getattr(theirs, field) for field in kept})
    if weights is None:
        if variant is None:
            return default_recipe(card.name, variants(card.name), preprocessing), preprocessing
        return find(card.name, variant, preprocessing=preprocessing), preprocessing
    path = lasting(str(weights))
    of_another = known is not None and registry.card(known["network"]).name != card.name
    if variant is None and of_another and card.task == "classification":
        variant = "published"  # VGG's deeper nets start from net A, for the same classes
    if variant in (None, "transfer"):
        return TRANSFER[card.task](card, preprocessing, path, len(loaded.train)), preprocessing
    return start_from(path, find(card.name, variant, preprocessing=preprocessing)), preprocessing


def default_recipe(network: str, variants: list[str], preprocessing: Any) -> "Recipe":
    """The published recipe; where a network has none of that name, the modern one, which says so in its notes."""
    from convatlas.training import find

    if "published" in variants:
        return find(network, "published", preprocessing=preprocessing)
    recipe = find(network, "modern", preprocessing=preprocessing)
    others = [variant for variant in variants if variant != "modern"]
    also = f"; it also has {', '.join(others)}, to be chosen by --recipe" if others else ""
    note = f"{network} has no recipe called published, so this is the modern one{also}."
    return replace(recipe, notes=(*recipe.notes, note))


def with_options(chosen: "Recipe", asked: Asked) -> "Recipe":
    """The recipe with what the options change; --set comes last."""
    from convatlas.training import options
    from convatlas.training.recipe import changed

    before = chosen.batch_size
    if asked.lr is not None and not hasattr(chosen.optimizer, "lr"):
        raise UsageError(f"--lr {asked.lr} has no place in the {chosen.variant} recipe: its rates are the schedule's")
    if asked.balance and asked.class_weights is not None:
        raise UsageError("--balance and --class-weights both make up for rare classes; expected one of them")
    if asked.scale_lr and asked.lr is not None:
        raise UsageError(f"--scale-lr with --lr {asked.lr}, which is the rate already; expected one of them")
    if asked.batch_size is not None:
        chosen = changed(chosen, [f"batch_size={asked.batch_size}"])
    if asked.lr is not None:
        chosen = changed(chosen, [f"optimizer.lr={asked.lr!r}"])
    if asked.scale_lr:
        chosen = options.with_scaled_rate(chosen, before)
    if asked.balance:
        chosen = replace(chosen, sampling="balanced")
    if asked.class_weights is not None:
        chosen = replace(chosen, class_weights=parse_class_weights(asked.class_weights))
    if asked.early_stopping is not None:
        chosen = options.with_early_stopping(chosen, asked.early_stopping)
    if asked.size is not None:
        chosen = options.with_size(chosen, parse_size(asked.size))
    for setting in asked.settings:
        if reason := SETTLED.get(setting.partition("=")[0].strip().split(".")[0]):
            raise UsageError(f"--set {setting} comes too late: {reason}")
    return changed(chosen, asked.settings)


def parse_size(text: str) -> tuple[int, int]:
    """ "224" -> (224, 224), "360x480" -> (360, 480): height and width."""
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() and 0 < int(side) < 100_000 for side in sides):
        raise UsageError(f"--size is {text!r}; expected pixels, such as 224, or height x width, such as 360x480")
    return int(sides[0]), int(sides[-1])


def parse_class_weights(text: str) -> Any:
    """ "balanced", or "1,2,0.5": one a class."""
    if text in RULES:
        return text
    try:
        return tuple(parse_finite(part, "--class-weights", minimum=0) for part in text.split(","))
    except UsageError as error:
        raise UsageError(
            f"--class-weights is {text!r}; expected {', '.join(RULES)}, or a number for each class, such as 1,2.5"
        ) from error
