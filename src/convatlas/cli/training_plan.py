"""What `convatlas train` is to do: recipe and data, from names, files and options, or from a run that stopped."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.structures import UsageError

if TYPE_CHECKING:
    from convatlas.data import DataSet
    from convatlas.training import Recipe


def begun(run: Path, data_root: Path | None) -> "tuple[Recipe, DataSet]":
    """The recipe and the data of a run that is to go on, divided as they were."""
    from convatlas import data as data_sets
    from convatlas import registry
    from convatlas.training import open_run
    from convatlas.training.recipe import read

    chosen = read(open_run(run).recipe)
    source, division = chosen.data, open_run(run).splits
    root = data_root or (Path(source.root) if source.root else None)
    loaded = data_sets.load(
        source.spec,
        root=root,
        test=source.test,
        test_fraction=source.test_fraction,
        seed=chosen.seed,
        division=data_sets.read_division(division) if division.exists() else None,
        task=registry.card(chosen.network).task,
        masks=registry.card(chosen.network).traits.wants_masks,
    )
    return chosen, loaded


def planned(
    network: str | None,
    recipe: str | None,
    weights: Path | None,
    data: str | None,
    data_root: Path | None,
    download: bool,
    test_data: str | None,
    epochs: int | None,
    seed: int | None,
) -> "tuple[Recipe, DataSet]":
    """A recipe by name or from a file, and the data that it is for."""
    from convatlas import data as data_sets
    from convatlas import registry
    from convatlas.data import lasting
    from convatlas.training import DataSource, adapted, start_from
    from convatlas.training.recipe import read

    written = read(Path(recipe)) if recipe and (recipe.endswith(".toml") or os.sep in recipe) else None
    if written is None and network is None:
        raise UsageError("NAME is missing: a network of `convatlas list`, or --recipe with the recipe.toml of a run")
    if written is not None and network is not None and registry.card(network).name != written.network:
        raise UsageError(f"NAME is {network}, but {recipe} trains {written.network}")
    card = registry.card(written.network if written else network or "")
    source = DataSource() if written is None else written.data
    if data is not None:
        source = DataSource(lasting(data))
    source = replace(
        source,
        root=str(data_root.resolve()) if data_root else source.root,
        test=lasting(test_data) if test_data else source.test,
    )
    seed = seed if seed is not None else written.seed if written else 0
    root = Path(source.root) if source.root else None
    if card.task != "classification" and source == DataSource():
        raise UsageError(f"--data is missing: {card.name} is for {card.task}; expected a folder of marked pictures")
    loaded = data_sets.load(
        source.spec,
        root=root,
        download=download,
        test=source.test,
        test_fraction=source.test_fraction,
        seed=seed,
        task=card.task,
        masks=card.traits.wants_masks,
    )
    if written is not None:
        preprocessing = data_sets.default_preprocessing(card, loaded.train)
        chosen = written if weights is None else start_from(lasting(str(weights)), written)
    else:
        chosen, preprocessing = choose(card, recipe, weights, loaded)
    if epochs is None and written is None:
        chosen = adapted(chosen, len(loaded.train))
    chosen = replace(
        chosen,
        epochs=epochs or chosen.epochs,
        preprocessing=chosen.preprocessing or preprocessing,
        seed=seed,
        data=source,
    )
    return chosen, loaded


def choose(card: Any, variant: str | None, weights: Path | None, loaded: Any) -> tuple[Any, Any]:
    """The recipe and the preprocessing: the weights' own, where a network starts from some."""
    from convatlas import data as data_sets
    from convatlas import weights as trained
    from convatlas.data import lasting
    from convatlas.training import TRANSFER, find, start_from

    known = trained.read_card(weights, card.name) if weights else None
    theirs = trained.preprocessing_of(known) if known else None
    preprocessing = theirs if theirs and card.task == "classification" else None
    if preprocessing is None:
        preprocessing = data_sets.default_preprocessing(card, loaded.train)
        if theirs:  # the window is the segmenter's, the values are what the weights were trained on
            kept = ("mean", "std", "channel_order")
            preprocessing = replace(preprocessing, **{field: getattr(theirs, field) for field in kept})
    if weights is None:
        return find(card.name, variant or "published", preprocessing=preprocessing), preprocessing
    path = lasting(str(weights))
    if variant in (None, "transfer"):
        return TRANSFER[card.task](card, preprocessing, path, len(loaded.train)), preprocessing
    return start_from(path, find(card.name, variant, preprocessing=preprocessing)), preprocessing


def with_options(chosen: "Recipe", batch_size: int | None, lr: float | None, settings: list[str]) -> "Recipe":
    from convatlas.training.recipe import changed

    if lr is not None and not hasattr(chosen.optimizer, "lr"):
        raise UsageError(f"--lr {lr} has no place in the {chosen.variant} recipe: its rates are the schedule's")
    own = [] if batch_size is None else [f"batch_size={batch_size}"]
    own += [] if lr is None else [f"optimizer.lr={lr!r}"]
    return changed(chosen, own + settings)
