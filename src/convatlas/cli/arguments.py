"""What holds for the arguments of every command: paths, numbers, devices, and the way help is laid out."""

import contextlib
import inspect
import io
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from convatlas.cli.common import announce, hush
from convatlas.errors import UsageError

NARROW = 80  # columns
LARGEST_INTEGER = 2**63 - 1
HOME = re.compile(r"(?P<option>(?:[-\w.]+=)?)(?P<path>~[-\w.]*(?:/.*)?)", re.DOTALL)
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?")


def write_help(command: TyperCommand | TyperGroup, write: Callable[[], None]) -> None:
    """Calls `write`, which lays out a help, without panels where they would cut words or leave them a few letters."""
    if command.rich_markup_mode is None:
        write()
        return
    with contextlib.redirect_stdout(io.StringIO()) as tried:
        write()
    if shutil.get_terminal_size().columns < NARROW or "…" in tried.getvalue():
        command.help = Text.from_markup(command.help or "").plain
        command.epilog = Text.from_markup(command.epilog or "").plain
        command.rich_markup_mode = None
    write()


class HelpfulGroup(TyperGroup):
    """A group whose help fits into a narrow window, and is what it says when no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        layout = super().format_help
        write_help(self, lambda: layout(ctx, formatter))


class CheckedCommand(TyperCommand):
    """A command whose arguments are looked at before it starts, so that no command has to do it.

    A leading `~` of a value is the home folder. Text is not empty, numbers are finite and fit into 64 bits, and a
    device is one that can compute.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        layout = super().format_help
        write_help(self, lambda: layout(ctx, formatter))

    def invoke(self, ctx: Any) -> Any:
        announce()
        try:
            return super().invoke(ctx)
        finally:
            hush()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, expand_home(args))
        if not ctx.resilient_parsing:  # as for completion, where a line is not finished
            validate_parameters(self.params, ctx.params, args)
        return rest


def validate_parameters(parameters: Sequence[Any], values: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Checks the values of a command; `arguments` are as they were written.

    Raises:
        UsageError: a value that `validate` refuses, or --csv with --json.
    """
    empty = any(not argument or re.fullmatch(r"--[-\w]+=", argument) for argument in arguments)
    formats = set()
    for parameter in parameters:
        value = values.get(parameter.name or "")
        if empty and isinstance(value, Path) and value == Path():  # which "" became
            value = ""
        validate(parameter_name(parameter), value)
        formats |= {"--csv", "--json"} & set(parameter.opts) if value is True else set()
    if len(formats) > 1:
        raise UsageError("--csv and --json exclude each other; expected one of them")


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

    Examples:
        >>> validate("--lr", 0.1)
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
        ending = " or ".join(suffixes)
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


def complete_network(incomplete: str) -> list[str]:
    """Names of networks for the shell's completion, from the ledger, without torch."""
    from convatlas import facts

    return [name for name in facts.network_names() if name.startswith(incomplete)]


def unwrap(text: str) -> str:
    """A docstring with each paragraph on one line: the line breaks of the source are none of the help's."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def prepare(app: typer.Typer) -> None:
    """Has every command of an app check its arguments, and lays out its help."""
    app.info.cls = HelpfulGroup
    for info in app.registered_commands:
        info.cls = CheckedCommand
        info.help = unwrap(info.help or (info.callback.__doc__ if info.callback else None) or "")
        info.short_help = info.help.split("\n\n")[0]
