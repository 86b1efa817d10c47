"""A misspelt argument is answered as a misspelt name is: with the nearest ones."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from convatlas.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


class UnknownArgumentError(UsageError, TypeError):
    """A call with an argument that the function does not have."""


def suggest_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which answers an unknown keyword with the arguments that are nearest to it.

    Raises:
        UnknownArgumentError: on such a call.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
                hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
                raise UnknownArgumentError(f"{name} is not an argument of {function.__name__}; {hint}")
        return function(*args, **kwargs)

    return checked
