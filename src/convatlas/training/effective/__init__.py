"""The effective recipe: what training really does, computed from the live objects instead of the recipe's fields."""

from convatlas.training.effective.draws import Initialisation
from convatlas.training.effective.inputs import InputEffect, Operation
from convatlas.training.effective.recipe import EffectiveRecipe, effective_recipe
from convatlas.training.effective.updates import Change, GroupEffect

__all__ = [
    "Change",
    "EffectiveRecipe",
    "GroupEffect",
    "Initialisation",
    "InputEffect",
    "Operation",
    "effective_recipe",
]
