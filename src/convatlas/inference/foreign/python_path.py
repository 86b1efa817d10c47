"""`file.py:Net` and `package.module:build`: a network that the user's own Python builds. Its code runs, as he asks."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.foreign.libraries import Arguments, build, of_module
from convatlas.inference.foreign.model import Model
from convatlas.sizes import bare_copy

EXPECTED = "expected file.py:NAME or package.module:NAME, with a class or a function that builds an nn.Module"


def split_call(text: str) -> tuple[str, dict[str, Any]]:
    """ "Net(width=64)" -> ("Net", {"width": 64}).

    Raises:
        UsageError: arguments that are not `name=literal`.
    """
    name, bracket, _ = text.partition("(")
    if not bracket:
        return text, {}
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name | ast.Attribute):
            raise ValueError
        return name, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords if word.arg}
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{text!r} can't be read; expected NAME(argument=value, ...), with numbers or text") from error


def python_model(place: str, name: str, arguments: Arguments) -> Model:
    """A network that a Python file or module defines.

    Raises:
        UsageError: there is no such file, module or name, or it is not what builds an nn.Module.
        ConvatlasError: the file or what it builds fails.
    """
    module = _load(place)
    if name not in vars(module):
        known = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        hint = f"; it has {', '.join(known[:6])}" if known else ""
        raise UsageError(f"{place} has no {name!r}{hint}")
    wanted: Any = vars(module)[name]
    if isinstance(wanted, nn.Module):
        return of_module(bare_copy(wanted), f"{place}:{name}", name)
    if not callable(wanted):
        raise UsageError(f"{place}:{name} is a {type(wanted).__name__}; {EXPECTED}")

    def make() -> nn.Module:
        net = wanted(**arguments)
        if not isinstance(net, nn.Module):
            raise TypeError(f"it builds a {type(net).__name__}; {EXPECTED}")
        return net

    net = build(place, name, make)
    return of_module(bare_copy(net), f"{place}:{name}", name)


def _load(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place).resolve()
        if not path.is_file():
            raise UsageError(f"{place} does not exist; {EXPECTED}")
        spec = importlib.util.spec_from_file_location(f"_convatlas_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.parent))  # so that it may import its neighbours
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
        return module
    except UsageError:
        raise
    except ModuleNotFoundError as error:
        raise UsageError(f"{place} can't be imported: {error}; {EXPECTED}") from error
    except Exception as error:  # whatever the user's code raises
        raise ConvatlasError(f"{place} can't be imported: {type(error).__name__}: {error}") from error
