"""An atlas of the classic convolutional networks in which every published fact is executable.

The public names are those of `__all__`; they are resolved on first use, so that `import convatlas` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING

from convatlas.caches import settle_matplotlib
from convatlas.errors import ConvatlasError, UsageError

if TYPE_CHECKING:
    from convatlas.api.building import create, features
    from convatlas.api.citing import cite
    from convatlas.api.knowing import ask, find_facts
    from convatlas.api.likeness import why
    from convatlas.api.loaded import LoadedNetwork, load
    from convatlas.api.looking import compare, diff, show, verify
    from convatlas.api.predictions import Predictions
    from convatlas.api.training import TrainedRun, recipe, train
    from convatlas.api.using import evaluate, explain, export
    from convatlas.evaluation.dense import to_fully_convolutional
    from convatlas.inference.trained import TrainedNetwork
    from convatlas.registry import card, names

__version__ = "0.1.0"

__all__ = [
    "ConvatlasError",
    "LoadedNetwork",
    "Predictions",
    "TrainedNetwork",
    "TrainedRun",
    "UsageError",
    "__version__",
    "ask",
    "card",
    "cite",
    "compare",
    "create",
    "diff",
    "evaluate",
    "explain",
    "export",
    "features",
    "find_facts",
    "load",
    "names",
    "recipe",
    "show",
    "to_fully_convolutional",
    "train",
    "verify",
    "why",
]

_PLACES = {
    "building": ("create", "features"),
    "citing": ("cite",),
    "knowing": ("ask", "find_facts"),
    "likeness": ("why",),
    "loaded": ("LoadedNetwork", "load"),
    "looking": ("compare", "diff", "show", "verify"),
    "predictions": ("Predictions",),
    "training": ("TrainedRun", "recipe", "train"),
    "using": ("evaluate", "explain", "export"),
}
_MODULES = {name: f"convatlas.api.{module}" for module, names in _PLACES.items() for name in names} | {
    "TrainedNetwork": "convatlas.inference.trained",
    "card": "convatlas.registry",
    "names": "convatlas.registry",
    "to_fully_convolutional": "convatlas.evaluation.dense",
}


settle_matplotlib()


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'convatlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
