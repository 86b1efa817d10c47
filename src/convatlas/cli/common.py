"""What several commands share: where text goes, JSON, and progress."""

import json
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.markup import escape

Progress = Callable[[int, int], None]  # (done, total)


SPEAKS_AFTER, SPEAKS_AGAIN = 4.0, 30.0  # seconds of silence
_announced: list[threading.Timer] = []
UNWRAPPED = 1_000_000  # characters: no line of a file or a pipe is broken
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class AboveBars:
    """A stream for a console of its own: while a progress bar of rich is shown, lines go above it.

    rich puts a proxy in the place of the standard streams then, which a second console would look through, and write
    into the line of the bar.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()


def console() -> Console:
    """Standard output; when that is no terminal, without colours and without wrapping."""
    hush()
    width = None if sys.stdout.isatty() else UNWRAPPED
    return Console(file=cast("IO[str]", AboveBars(sys.stdout)), highlight=False, emoji=False, width=width)


def say(sentence: str) -> None:
    """A line on standard output, in which nothing is markup; in a terminal it is broken between words."""
    console().print(visible(sentence), markup=False)


def visible(text: str) -> str:
    r"""Text from a file or an argument, with its control characters written out: "\x1b" for ESC, "\n" for a new line.

    Those that turn the direction of writing are among them, and bytes of file names that are no text.
    """
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def csv_text(text: str) -> str:
    """`visible`, and with an apostrophe before what a spreadsheet would take for a formula: "'=cmd"."""
    return f"'{visible(text)}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else visible(text)


def literal(text: object) -> str:
    """`visible`, and safe inside of rich's markup: "[/red]" stays what it is."""
    return escape(visible(str(text)))


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


def warn(sentence: str) -> None:
    """A line on standard error that does not end the command; in a terminal it is broken between words."""
    line = f"convatlas: {visible(sentence)}"
    if sys.stderr.isatty():
        Console(file=cast("IO[str]", AboveBars(sys.stderr)), highlight=False, emoji=False).print(line, markup=False)
    else:
        print(line, file=sys.stderr)


@contextmanager
def progress(description: str) -> Iterator[Progress]:
    """A progress bar on standard error where that is a terminal, and a line now and then where it is not.

    `with progress("Reading") as step: step(3, 10)` shows 3 of 10. Work that can't tell how far it is calls no `step`.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    hush()
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        with lines(description) as step:
            yield step
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def lines(description: str) -> Iterator[Progress]:
    """What `progress` is where no terminal listens: the first line after four seconds, then one each half minute."""
    state, ended = {"done": 0, "total": 0}, threading.Event()

    def speak() -> None:
        pause = SPEAKS_AFTER
        while not ended.wait(pause):
            far = f": {state['done']:,} of {state['total']:,}" if state["total"] else ""
            print(f"convatlas: {description.lower()}{far} ...", file=sys.stderr, flush=True)
            pause = SPEAKS_AGAIN

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield lambda done, total: state.update(done=done, total=total)
    finally:
        ended.set()
        thread.join()


def announce() -> None:
    """Says in four seconds that the command is at work, unless it prints or shows progress before."""
    hush()
    timer = threading.Timer(SPEAKS_AFTER, lambda: print("convatlas: preparing ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    _announced.append(timer)


def hush() -> None:
    """Takes back what `announce` wanted to say."""
    while _announced:
        _announced.pop().cancel()


def duration(seconds: float) -> str:
    """ "0.4 s", "48 s", "12 min", "3.5 h", "2.1 days"."""
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"
    return f"{seconds / 86_400:.1f} days"
