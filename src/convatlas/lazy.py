"""Modules that are imported on first use, because importing them takes long and most commands never need them."""

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Lazy:
    """Stands for a module: `ops = Lazy("torchvision.ops")`, then `ops.nms(...)`. It travels to worker processes."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._module not in sys.modules:
            # a thread of its own knows of no tracing and of no default device that the caller may have set
            with ThreadPoolExecutor(max_workers=1) as pool:
                pool.submit(importlib.import_module, self._module).result()
        return getattr(sys.modules[self._module], name)
