"""What several commands share: lines of text, JSON, and what `terminal` has."""

import json
import math
import re
import sys
from typing import IO, Any, cast

from rich.console import Console

from convatlas.terminal.text import UNWRAPPED, AboveBars, announce, console, hush, literal, progress, visible

__all__ = [
    "UNWRAPPED", "announce", "console", "csv_text", "hush", "literal", "only_for", "print_json", "progress", "say",
    "shorten", "visible", "warn", "warn_of_choice", "without_nan",
]  # fmt: skip

_LONG_WORD = re.compile(r"\S{500,}")


def say(sentence: str) -> None:
    """A line on standard output, in which nothing is markup; in a terminal it is broken between words."""
    console().print(visible(sentence), markup=False)


def csv_text(text: str) -> str:
    """`visible`, and with an apostrophe before what a spreadsheet would take for a formula: "'=cmd"."""
    return f"'{visible(text)}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else visible(text)


def print_json(value: Any) -> None:
    """One JSON document on standard output. NaN and infinity become null, since JSON has neither."""
    hush()
    sys.stdout.write(json.dumps(without_nan(value), indent=2, ensure_ascii=False) + "\n")


def without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def only_for(opened: Any, tasks: tuple[str, ...], given: dict[str, Any]) -> None:
    """Raises UsageError for an option with a value that the network's task has no use for."""
    from convatlas.errors import UsageError

    for option, value in given.items():
        if value and opened.task not in tasks:
            raise UsageError(f"{option} is for {' or '.join(tasks)}; {opened.name} is for {opened.task}")


def warn_of_choice(notes: tuple[str, ...]) -> None:
    """Says on standard error which of several networks in a weights file was taken, and what is not known of it."""
    for note in notes:
        if "averaged" in note and "n_averaged" not in note:
            warn(f"weights {note}; `convatlas weights import --take` chooses")
        if note.startswith("say nothing of their images"):
            warn(f"weights {note}")


def shorten(sentence: str) -> str:
    """A sentence without the middle of what it quotes, where a value of thousands of characters was put into it."""
    return _LONG_WORD.sub(lambda word: f"{word[0][:100]} ... {word[0][-100:]}", sentence)


def warn(sentence: str) -> None:
    """A line on standard error that does not end the command; in a terminal it is broken between words."""
    line = f"convatlas: {shorten(visible(sentence))}"
    if sys.stderr.isatty():
        Console(file=cast("IO[str]", AboveBars(sys.stderr)), highlight=False, emoji=False).print(line, markup=False)
    else:
        print(line, file=sys.stderr)
