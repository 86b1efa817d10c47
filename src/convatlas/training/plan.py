"""What a training is to do: recipe and data, from names, files and options, or from a run that stopped.

`prepare` checks everything that can be checked without the data, which may take minutes to read; `Plan.load` reads
them.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convatlas import registry
from convatlas import weights as trained
from convatlas.data import DataSet, default_preprocessing, lasting
from convatlas.data.groups import is_pattern
from convatlas.data.known import NAMES
from convatlas.data.validation import check_fractions
from convatlas.errors import UsageError
from convatlas.records import NetworkCard, Preprocessing
from convatlas.training import distributed, trainable
from convatlas.training import run as runs
from convatlas.training.asked import Asked, with_options
from convatlas.training.recipe import DataSource, Recipe, on_data, read
from convatlas.training.recipes import TRANSFER, adapted, find, of_large_images, start_from, variants
from convatlas.training.setup import check_channels
from convatlas.training.sources import load_data
from convatlas.training.start_images import fed_as_trained
from convatlas.training.tasks import TASKS
from convatlas.training.trackers import check_trackers

MANY = 1_000_000  # samples, as long as nobody has counted them


@dataclass(frozen=True)
class Plan:
    """A training whose arguments are checked, and whose data are not read yet."""

    asked: Asked
    card: NetworkCard
    source: DataSource
    seed: int
    written: Recipe | None  # of a file
    data_root: Path | None = None

    @property
    def draft(self) -> Recipe:
        """The recipe as it is for many images that are larger than the network's input."""
        return self._recipe(of_large_images(self.card), MANY)

    @property
    def max_epochs(self) -> int:
        """The epochs; where the recipe has another number for small data, the larger one."""
        draft = self.draft
        small = draft.small_data_epochs if self.asked.epochs is None and self.written is None else None
        return max(draft.epochs, small or 0)

    def load(self, *, download: bool = False) -> tuple[Recipe, DataSet]:
        """Reads the data, and gives the recipe for them.

        Raises:
            UsageError, ConvatlasError: as `load_data`; or the recipe does not suit the data.
        """
        loaded = load_data(self.source, self.card.name, seed=self.seed, download=download)
        recipe = self._recipe(default_preprocessing(self.card, loaded.train), len(loaded.train))
        return on_data(recipe, math.ceil(len(loaded.train) / recipe.batch_size)), loaded

    def _recipe(self, usual: Preprocessing, samples: int) -> Recipe:
        asked, written = self.asked, self.written
        if written is None:
            recipe, preprocessing = choose(self.card, asked, usual, samples)
        else:
            recipe = written if asked.weights is None else start_from(lasting(str(asked.weights)), written)
            preprocessing = usual
        if asked.epochs is None and written is None:
            recipe = adapted(recipe, samples)
        if asked.epochs is not None:
            recipe = replace(recipe, epochs=asked.epochs)
        recipe = replace(
            recipe,
            preprocessing=recipe.preprocessing or preprocessing,
            seed=self.seed,
            data=self.source,
        )
        recipe = with_options(fed_as_trained(recipe), asked)
        return replace(recipe, steps=None) if asked.names_epochs else recipe


def prepare(asked: Asked, data_root: Path | None = None) -> Plan:
    """Checks what is asked, as far as that goes without the data: names and values first, then places.

    Raises:
        UsageError: an unknown name, values that contradict each other or do not suit the network, or no such file.
        ConvatlasError: a recipe or weights that can't be read.
    """
    recipe = asked.recipe
    written = read(Path(recipe)) if recipe and is_recipe_file(recipe) else None
    if written is None and asked.network is None:
        raise UsageError("network is missing; expected a name, or recipe=FILE with the recipe.toml of a run")
    if written and asked.network is not None and registry.card(asked.network).name != written.network:
        raise UsageError(f"recipe {recipe} trains {written.network}; expected one of {asked.network}")
    card = registry.card(written.network if written else asked.network or "")
    source = data_source(asked, written, data_root)
    check_annotated(card, asked, source)
    check_fractions(source.val_fraction or None, source.fraction)
    seed = asked.seed if asked.seed is not None else written.seed if written else 0
    plan = Plan(asked, card, source, seed, written, data_root)
    draft = plan.draft
    assert draft.preprocessing is not None
    check_channels(draft.preprocessing)
    trainable.check(draft, draft.preprocessing)
    for name, spec in (("data", source.spec), ("test_data", source.test)):
        check_place(name, spec)
    return plan


def check_start(out: Path | None, *, device: str | None, trackers: Sequence[str], overwrite: bool = False) -> None:
    """Checks where and how a new run is made, which needs no data either.

    Raises:
        UsageError: a device or tracker that is not there, or a folder that holds something else.
    """
    distributed.check_device(device)
    check_trackers(trackers)
    if out is not None:
        runs.refuse_occupied(runs.RunFolder(out), overwrite)


def begun(run: Path, data_root: Path | None) -> tuple[Recipe, DataSet]:
    """The recipe and the data of a run that is to go on, split as they were."""
    opened = runs.open_run(run)
    recipe = read(opened.recipe)
    # With a record of the samples the split is made anew and compared with it, so that new files are noticed too.
    division = None if opened.samples.exists() else opened.division()
    return recipe, load_data(recipe.data, recipe.network, seed=recipe.seed, root=data_root, division=division)


def is_recipe_file(recipe: str) -> bool:
    """Whether a recipe is the place of a file, rather than the name of a variant."""
    return recipe.endswith(".toml") or os.sep in recipe


def data_source(asked: Asked, written: Recipe | None, data_root: Path | None) -> DataSource:
    """Where the samples come from: the recipe's place and splits, unless others are asked for."""
    source = DataSource() if written is None else written.data
    if asked.data is not None:
        source = DataSource(lasting(asked.data))
    if asked.folds is not None and asked.val_fraction is not None:
        raise UsageError("folds and val_fraction both make a validation split; expected one of them")
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


def check_annotated(card: NetworkCard, asked: Asked, source: DataSource) -> None:
    """Raises UsageError for a task whose annotations the data can't have."""
    wanted = {"segmentation": "masks", "detection": "boxes", "pose": "joints"}.get(card.task)
    if wanted is None or source.spec not in NAMES:
        return
    if asked.data is None:
        raise UsageError(f"data is missing: {card.name} is for {card.task}; expected a folder of images with {wanted}")
    raise UsageError(
        f"data {source.spec} has labels and no {wanted}; {card.name} is for {card.task}: expected a folder of images "
        f"with {wanted}"
    )


def check_place(name: str, spec: str | None) -> None:
    """Raises UsageError for data that lie nowhere; what lies there is not looked at."""
    if spec is None or spec in NAMES or is_pattern(spec) or "\0" in spec:
        return
    path = Path(spec).expanduser()
    pair = path.with_name(f"{path.name}_train.npz") if path.name else path
    if os.sep in spec and not (path.exists() or pair.exists()):
        raise UsageError(f"{name} {spec!r} does not exist; expected a folder, a file, or one of {', '.join(NAMES)}")


def choose(card: NetworkCard, asked: Asked, usual: Preprocessing, samples: int) -> tuple[Recipe, Preprocessing]:
    """The recipe and the preprocessing: the weights' own, where a network starts from some."""
    variant, weights = asked.recipe, asked.weights
    known = trained.read_card(weights, card.name) if weights else None
    theirs = trained.preprocessing_of(known) if known else None
    preprocessing = theirs if theirs and TASKS[card.task].has_classes else usual
    if theirs and not TASKS[card.task].has_classes:  # the window is the network's, the values are the weights'
        preprocessing = replace(usual, mean=theirs.mean, std=theirs.std, channel_order=theirs.channel_order)
    if weights is None:
        if variant is None:
            return default_recipe(card.name, variants(card.name), preprocessing), preprocessing
        return find(card.name, variant, preprocessing=preprocessing), preprocessing
    path = lasting(str(weights))
    of_another = known is not None and registry.card(known["network"]).name != card.name
    if variant is None and of_another and TASKS[card.task].has_classes:
        variant = "published"  # VGG's deeper nets start from net A, for the same classes
    if variant in (None, "transfer"):
        return TRANSFER[card.task](card, preprocessing, path, samples), preprocessing
    return start_from(path, find(card.name, variant, preprocessing=preprocessing)), preprocessing


def default_recipe(network: str, known: list[str], preprocessing: Preprocessing) -> Recipe:
    """The published recipe; where a network has none of that name, the modern one, which says so in its notes."""
    if "published" in known:
        return find(network, "published", preprocessing=preprocessing)
    recipe = find(network, "modern", preprocessing=preprocessing)
    others = [variant for variant in known if variant != "modern"]
    also = f"; it also has {', '.join(others)}" if others else ""
    note = f"{network} has no recipe called published, so this is the modern one{also}."
    return replace(recipe, notes=(*recipe.notes, note))
