"""How to cite a network, and how to say what a run did: a methods paragraph that names every departure."""

import re
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

from convatlas import facts, registry
from convatlas.analysis.verify import verify
from convatlas.errors import ConvatlasError
from convatlas.inference.opening import open_source
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import NetworkCard
from convatlas.report.published import dataset_name, plural
from convatlas.training.recipe import Recipe
from convatlas.training.recipes import PUBLISHED
from convatlas.training.records import read_object
from convatlas.training.run import RunFolder

OWN = """@software{convatlas,
  author  = {{The convatlas authors}},
  title   = {convatlas: an atlas of the classic convolutional networks in which every published fact is executable},
  version = {VERSION},
}"""
# what is said of a recipe, what the data decide, and how fast it is computed
NOT_TRAINING = (
    "network", "variant", "source", "expected", "results", "cost", "notes", "small_data_epochs", "preprocessing",
    "seed", "data", "compile", "channels_last", "shard", "fine_tune", "steps",
)  # fmt: skip
_DEPARTS = re.compile(r"^Departs +(.*?)(?=^[A-Z]\w+ {2,}|^\s*$|\Z)", re.MULTILINE | re.DOTALL)


def cite_network(name: str) -> str:
    """The BibTeX entry of a network's paper, by the network's name or an alias.

    Raises:
        UsageError: an unknown name.
    """
    card = registry.card(name)
    try:
        return facts.bibtex(card.paper)
    except KeyError as error:
        expected = f"expected facts/papers/{card.paper}.toml"
        raise ConvatlasError(f"{card.name} has no paper in the ledger; {expected}") from error


def cite_run(folder: Path, version: str) -> tuple[str, str]:
    """(a methods paragraph, the BibTeX entries that it cites) for a run folder.

    Raises:
        UsageError: no run folder.
        ConvatlasError: an incomplete run.
    """
    trained = open_source(str(folder))
    if trained.recipe is None:
        raise ConvatlasError(f"{folder} has no recipe; expected a run folder of `convatlas train`")
    entries = "\n\n".join((cite_network(trained.name), OWN.replace("VERSION", version)))
    return methods(trained, folder, version), entries


def methods(trained: TrainedNetwork, folder: Path, version: str) -> str:
    """What was trained on what, how, by which program; then every departure from the paper, a sentence each."""
    recipe, card = trained.recipe, registry.card(trained.name)
    assert recipe is not None  # a run folder has one
    run = RunFolder(folder)
    rows = run.rows() if run.metrics.is_file() else []
    environment = read_object(folder / "environment.json")
    cited = facts.citation_key(card.paper)
    seen = f" on {rows[0]['images']:,} images of {dataset_name(recipe)}" if rows else f" on {dataset_name(recipe)}"
    versions = f"convatlas {environment.get('convatlas', version)} (PyTorch {environment.get('torch', 'unknown')})"
    lead = (
        f"We trained {card.name} \\cite{{{cited}}}{seen} with {len(trained.classes)} classes, for "
        f"{plural(len(rows) or recipe.epochs, 'epoch', 'epochs')} in batches of {recipe.batch_size}, by the "
        f"{recipe.variant} recipe ({recipe.source}), with {versions} \\cite{{convatlas}}, seed {recipe.seed}, on "
        f"{environment.get('gpu') or environment.get('processor') or environment.get('device')}."
    )
    departures = list(dict.fromkeys(departures_of(trained, card, recipe, len(rows))))
    if not departures:
        return f"{lead} Network and training are as published."
    return "\n".join((f"{lead} Departures from the paper:", *(f"- {sentence}" for sentence in departures)))


def departures_of(trained: TrainedNetwork, card: NetworkCard, recipe: Recipe, epochs: int) -> Iterator[str]:
    """Every way in which the network, its input, the recipe and the data are not the paper's."""
    yield from _of_network(card)
    channels, *size = card.input_shape
    if list(trained.preprocessing.size) != size:
        yield f"The input is {_sides(trained.preprocessing.size)} pixels instead of {_sides(size)}."
    if trained.preprocessing.channels != channels:
        yield f"The input has {trained.preprocessing.channels} channels instead of {channels}."
    if len(trained.classes) != card.num_classes:
        yield f"The network has {len(trained.classes)} outputs instead of {card.num_classes}."
    yield from _of_recipe(recipe, epochs)


def _of_network(card: NetworkCard) -> Iterator[str]:
    module = sys.modules.get(card.builder.__module__)
    for match in _DEPARTS.finditer((module.__doc__ if module else "") or ""):
        yield f"The network ({card.name}'s family): {' '.join(match[1].split())}"
    for row in verify(card.name):
        if row.verdict == "disputed":
            where = f" of {row.layer}" if row.layer else ""
            quantity = f"{row.quantity.replace('_', ' ')}{where}"
            yield f"The {quantity}: {row.computed} here, {row.printed} printed; {row.reason}"


def _of_recipe(recipe: Recipe, epochs: int) -> Iterator[str]:
    published = PUBLISHED.get((recipe.network, recipe.variant)) or PUBLISHED.get((recipe.network, "published"))
    yield from recipe.notes
    if epochs and epochs != recipe.epochs:
        yield f"The recipe has {plural(recipe.epochs, 'epoch', 'epochs')}; {epochs} were made."
    if published is None:
        yield f"No training recipe of the paper is known here; the {recipe.variant} recipe stands in for it."
        return
    if recipe.variant != published.variant:
        yield f"The recipe is {recipe.variant}, not the published one ({published.source})."
    as_stated = published.stated_steps is not None and recipe.stated_steps == published.stated_steps
    for name, theirs in vars(published).items():
        if name not in NOT_TRAINING and not (name == "epochs" and as_stated):
            yield from _changes(name.replace("_", " "), theirs, vars(recipe)[name])
    if recipe.fine_tune != published.fine_tune and recipe.fine_tune is not None:
        yield f"Training started from the weights {Path(recipe.fine_tune.weights).name}."
    printed = published.results[0].data if published.results else ""
    if printed:
        yield f"The data are {dataset_name(recipe)}; the published result is for {printed}."


def _changes(name: str, theirs: object, ours: object) -> Iterator[str]:
    """A sentence for each field of a value that differs, or one for the whole where it is of another kind."""
    if theirs == ours:
        return
    if is_dataclass(theirs) and type(theirs) is type(ours):
        for field, old in vars(theirs).items():
            yield from _changes(f"{name}.{field.replace('_', ' ')}", old, vars(ours)[field])
    else:
        yield f"{name}: {_as_words(ours)} instead of {_as_words(theirs)}."


def _as_words(value: object) -> str:
    if value is None or value == ():
        return "none"
    return " and ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _sides(size: tuple[int, ...] | list[int]) -> str:
    return " x ".join(map(str, size))
