"""Modules that are imported on first use, because importing them takes long and most commands never need them."""

import importlib
from typing import Any


class Lazy:
    """Stands for a module: `ops = Lazy("torchvision.ops")`, then `ops.nms(...)`. It travels to worker processes."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self._module), name)
