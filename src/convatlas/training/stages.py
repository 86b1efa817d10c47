"""Recipes that come after others: the stages before are trained first, each in a run folder of its own.

Faster R-CNN's four steps (Ren et al. 2015, section 3.2) are four recipes, of which the last names the one before it,
and so on; whoever trains by the last one trains all four.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import Recipe
from convatlas.training.recipes import find
from convatlas.training.recipes.transfer import start_from
from convatlas.training.run import RunFolder


class Fit(Protocol):
    """Trains a recipe in a folder."""

    def __call__(self, stage: Recipe, folder: Path, *, overwrite: bool, resume: bool) -> object: ...


def folder_of(out: Path, recipe: Recipe) -> Path:
    """Where the stage before a run of `recipe` in `out` is trained: beside it, by the name of the stage's recipe."""
    assert recipe.after is not None
    return out.with_name(f"{out.name.removesuffix(f'-{recipe.variant}')}-{recipe.after.variant}")


def stage_before(recipe: Recipe) -> Recipe:
    """The recipe of the stage before, with the data, the seed and the weights of this one.

    Other epochs than the source's are asked of all stages alike; what else was changed stays this one's own.
    """
    assert recipe.after is not None
    stage = find(recipe.network, recipe.after.variant)
    stage = replace(
        stage,
        fine_tune=recipe.fine_tune,
        data=recipe.data,
        seed=recipe.seed,
        preprocessing=recipe.preprocessing,
        precision=recipe.precision,
    )
    shortened = recipe.stated_steps is None and stage.stated_steps is not None
    return replace(stage, epochs=recipe.epochs) if shortened else stage


def goes_on(recipe: Recipe, out: Path) -> bool:
    """Whether the recipe, as a run that stopped has it, names what it took from the stage before."""
    assert recipe.after is not None
    folder = str(folder_of(out, recipe))
    start = recipe.fine_tune.weights if recipe.fine_tune else ""
    regions = recipe.loss.proposals if isinstance(recipe.loss, OwnLosses) else ""
    taken = ((recipe.after.weights, start), (recipe.after.proposals, regions))
    return all(path.startswith(folder) for needed, path in taken if needed)


def train_before(recipe: Recipe, out: Path, fit: Fit, note: Callable[[str], None], *, overwrite: bool) -> Recipe:
    """Trains the stage before, unless it is done, and returns the recipe as it goes on from there.

    A stage that was stopped goes on; `overwrite` begins it anew.

    Args:
        recipe: with `after`.
        out: the run folder of this stage.
        fit: trains a recipe in a folder.
        note: told which stage comes next.
    """
    after = recipe.after
    assert after is not None
    stage, folder = stage_before(recipe), folder_of(out, recipe)
    run = RunFolder(folder)
    if overwrite or not run.summary.is_file():
        note(f"{recipe.variant} comes after {stage.variant}, which is trained first, in {folder}")
        fit(stage, folder, overwrite=overwrite, resume=run.recipe.is_file() and not overwrite)
    else:
        note(f"{recipe.variant} comes after {stage.variant}, which {folder} has")
    trained = str(run.kept(stage))
    if after.weights:
        recipe = start_from(trained, recipe)
        assert recipe.fine_tune is not None
        recipe = replace(recipe, fine_tune=replace(recipe.fine_tune, anew=after.anew))
    if after.proposals and isinstance(recipe.loss, OwnLosses):
        recipe = replace(recipe, loss=replace(recipe.loss, proposals=trained))
    return recipe
