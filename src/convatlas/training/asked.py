"""What a training is asked to change in a recipe: the options of `convatlas train`, the arguments of `train`."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from convatlas.errors import UsageError
from convatlas.training import options
from convatlas.training.recipe import Recipe, changed

# What is settled before `settings` have their turn, so that a recipe with another value would not tell of its run.
SETTLED = {
    "network": "the network is chosen already",
    "seed": "the data are split by it; seed=NUMBER sets it",
    "data": "the data are chosen already; data=DATA, test_data=DATA, val_fraction=FRACTION and fraction=FRACTION do so",
}
RULES = ("balanced", "median_frequency", "inverse_log")  # by which class weights follow from the data


@dataclass(frozen=True)
class Asked:
    """What is learned, and from what; None and False where nothing is asked."""

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

    @property
    def names_epochs(self) -> bool:
        """Whether a number of epochs is asked for, which then holds where the recipe's source counts in steps."""
        return self.epochs is not None or any(
            setting.partition("=")[0].strip() == "epochs" for setting in self.settings
        )


def with_options(recipe: Recipe, asked: Asked) -> Recipe:
    """The recipe with what is asked; `settings` come last.

    Raises:
        UsageError: two that contradict each other, or one that has no place in the recipe.
    """
    before = recipe.batch_size
    if asked.lr is not None and not hasattr(recipe.optimizer, "lr"):
        raise UsageError(f"lr {asked.lr} has no place in the {recipe.variant} recipe: its rates are the schedule's")
    if asked.balance and asked.class_weights is not None:
        raise UsageError("balance and class_weights both make up for rare classes; expected one of them")
    if asked.scale_lr and asked.lr is not None:
        raise UsageError(f"scale_lr goes with lr={asked.lr}, which is the rate already; expected one of them")
    if asked.batch_size is not None:
        recipe = changed(recipe, [f"batch_size={asked.batch_size}"])
    if asked.lr is not None:
        recipe = changed(recipe, [f"optimizer.lr={asked.lr!r}"])
    if asked.scale_lr:
        recipe = options.with_scaled_rate(recipe, before)
    if asked.balance:
        recipe = replace(recipe, sampling="balanced")
    if asked.class_weights is not None:
        recipe = replace(recipe, class_weights=parse_class_weights(asked.class_weights))
    if asked.early_stopping is not None:
        recipe = options.with_early_stopping(recipe, asked.early_stopping)
    if asked.size is not None:
        recipe = options.with_size(recipe, parse_size(asked.size))
    for setting in asked.settings:
        if reason := SETTLED.get(setting.partition("=")[0].strip().split(".")[0]):
            raise UsageError(f"settings {setting} comes too late: {reason}")
    return changed(recipe, asked.settings)


def parse_size(text: str) -> tuple[int, int]:
    """ "224" -> (224, 224), "360x480" -> (360, 480): height and width.

    Raises:
        UsageError: neither of both.
    """
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() and 0 < int(side) < 100_000 for side in sides):
        raise UsageError(f"size is {text!r}; expected pixels, such as 224, or height x width, such as 360x480")
    return int(sides[0]), int(sides[-1])


def parse_class_weights(text: str) -> Any:
    """ "balanced", or "1,2,0.5": one a class.

    Raises:
        UsageError: neither a rule nor finite numbers from 0 on.
    """
    if text in RULES:
        return text
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = (math.nan,)
    if not all(0 <= weight < math.inf for weight in weights):
        raise UsageError(
            f"class_weights is {text!r}; expected {', '.join(RULES)}, or a number for each class, such as 1,2.5"
        )
    return weights
