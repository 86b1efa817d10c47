"""An atlas of the classic convolutional networks in which every published fact is executable.

The public names are resolved on first use, so that `import convatlas` loads no torch.
"""

# pyright: reportUnsupportedDunderAll=false

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "card": "convatlas.registry",
    "create": "convatlas.weights",
    "features": "convatlas.inference.features",
    "load": "convatlas.inference.source",
    "names": "convatlas.registry",
    "to_fully_convolutional": "convatlas.evaluation.dense",
}

__all__ = [
    "__version__", "card", "create", "features", "load", "names", "to_fully_convolutional",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'convatlas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
