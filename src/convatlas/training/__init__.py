"""Training: recipes, optimisers, losses and the loop that joins them."""

from convatlas.training.loop import Progress, Trained, fit
from convatlas.training.recipe import DataSource, Recipe
from convatlas.training.recipes import TRANSFER, adapted, find, start_from, transfer, variants
from convatlas.training.run import RunFolder, open_run
from convatlas.training.session import SaveEvery

__all__ = [
    "TRANSFER",
    "DataSource",
    "Progress",
    "Recipe",
    "RunFolder",
    "SaveEvery",
    "Trained",
    "adapted",
    "find",
    "fit",
    "open_run",
    "start_from",
    "transfer",
    "variants",
]
