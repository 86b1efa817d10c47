"""Training: recipes, optimisers, losses and the loop that joins them."""

from convatlas.training.loop import Progress, Trained, fit
from convatlas.training.place import SaveEvery
from convatlas.training.recipe import DataSource, Recipe
from convatlas.training.recipes import TRANSFER, adapted, find, start_from, transfer, variants
from convatlas.training.run import RunFolder, open_run
from convatlas.training.sources import load_data
from convatlas.training.summary import Summary

__all__ = [
    "TRANSFER",
    "DataSource",
    "Progress",
    "Recipe",
    "RunFolder",
    "SaveEvery",
    "Summary",
    "Trained",
    "adapted",
    "find",
    "fit",
    "load_data",
    "open_run",
    "start_from",
    "transfer",
    "variants",
]


def __dir__() -> list[str]:
    """The public names; the modules behind them are imported by their own names."""
    return __all__
