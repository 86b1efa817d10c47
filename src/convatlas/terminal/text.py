"""Where lines and progress bars go: a terminal, a pipe or a log. Commands and Python's functions share it."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TextIO, cast

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


def visible(text: str) -> str:
    r"""Text from a file or an argument, with its control characters written out: "\x1b" for ESC, "\n" for a new line.

    Those that turn the direction of writing are among them, and bytes of file names that are no text.
    """
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def literal(text: object) -> str:
    """`visible`, and safe inside of rich's markup: "[/red]" stays what it is."""
    return escape(visible(str(text)))


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
