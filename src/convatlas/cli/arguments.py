"""What holds for the arguments of every command: paths, numbers, devices, and the way help is laid out."""

import inspect
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from convatlas.cli.common import announce, hush
from convatlas.structures import UsageError

LARGEST_INTEGER = 2**63 - 1
HOME = re.compile(r"(?P<option>(?:[-\w.]+=)?)(?P<path>~[-\w.]*(?:/.*)?)", re.DOTALL)
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?")


class CheckedCommand(TyperCommand):
    """A command whose arguments are looked at before it starts, so that no command has to do it.

    A leading `~` of a value is the home folder. Text is not empty, numbers are finite and fit into 64 bits, and a
    device is one that can compute.
    """

    def invoke(self, ctx: Any) -> Any:
        announce()
        try:
            return super().invoke(ctx)
        finally:
            hush()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, expand_home(args))
        for parameter in self.params:
            if parameter.name is not None and not ctx.resilient_parsing:
                validate(parameter_name(parameter), ctx.params.get(parameter.name))
        return rest


def parameter_name(parameter: Any) -> str:
    """What people call a parameter: "--out", "NAME"."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper()).strip("[].")
    return max(parameter.opts, key=len)


def expand_home(arguments: Iterable[str]) -> list[str]:
    """Expands `~` at the start of a value, in `--out=~/run` too, where the shell leaves it; stops at no `--`."""
    expanded = []
    for argument in arguments:
        match = HOME.fullmatch(argument)
        expanded.append(match["option"] + os.path.expanduser(match["path"]) if match else argument)
    return expanded


def validate(name: str, value: Any) -> None:
    """Checks one value, or each of a repeated argument.

    Raises:
        UsageError: empty text, a number that is not finite or too large, or a device that can't compute.
    """
    if isinstance(value, (list, tuple)):
        for item in value:
            validate(name, item)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise UsageError(f"{name} is {value}; expected an integer of at most 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"{name} is {value}; expected a finite number")
    elif isinstance(value, str):
        if not value.strip():
            raise UsageError(f"{name} is empty: {value!r}; expected a value, or leave it out")
        if name == "--device" and not DEVICE.fullmatch(value):
            raise UsageError(f"--device is {value!r}; expected auto, cpu, mps, cuda, cuda:1 and so on")


def parse_finite(text: str, name: str, *, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """ "0.5" -> 0.5, for numbers that are part of a longer text.

    Raises:
        UsageError: no number, not finite, or outside of [minimum, maximum].
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and minimum <= value <= maximum):
        bounds = [f"at least {minimum:g}"] if math.isfinite(minimum) else []
        bounds += [f"at most {maximum:g}"] if math.isfinite(maximum) else []
        expected = f"a number, {' and '.join(bounds)}" if bounds else "a finite number"
        raise UsageError(f"{name} is {text!r}; expected {expected}")
    return value


def validate_output(path: Path | None, name: str, suffixes: tuple[str, ...] = ()) -> None:
    """Says before the work begins that no file can be written there: a folder, a wrong ending, a file above it.

    Raises:
        UsageError: with the argument's name, the path, and what was expected.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{name} is {path}, a folder; expected the name of a file")
    if suffixes and path.suffix.lower() not in suffixes:
        ending = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}" if len(suffixes) > 1 else suffixes[0]
        raise UsageError(f"{name} is {path}; expected a name that ends in {ending}")
    validate_folder(path.parent, name)


def validate_folder(path: Path | None, name: str) -> None:
    """Says before the work begins that no folder can be made there.

    Raises:
        UsageError: the path, or what it would lie in, is a file.
    """
    if path is None:
        return
    nearest = next(place for place in (path, *path.parents) if os.path.lexists(place) or place == place.parent)
    if not nearest.is_dir():
        raise UsageError(f"{name} is {path}, but {nearest} is not a folder; expected a place for a folder")


def make_parent(path: Path) -> Path:
    """Makes the folder that a file is written to, and gives the file's path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def unwrap(text: str) -> str:
    """A docstring with each paragraph on one line: the line breaks of the source are none of the help's."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def prepare(app: typer.Typer) -> None:
    """Has every command of an app check its arguments, and lays out its help."""
    for info in app.registered_commands:
        info.cls = CheckedCommand
        info.help = unwrap(info.help or (info.callback.__doc__ if info.callback else None) or "")
