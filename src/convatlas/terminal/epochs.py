"""The epochs of a training as they pass: a bar and a line each in a terminal, lines alone in a log."""

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from convatlas.readable import duration
from convatlas.records import SCORES, score_name
from convatlas.terminal.text import SPEAKS_AFTER, console, hush, visible

SPEAKS_AT_MOST = 300.0  # seconds between two lines within an epoch, in a log
NARROW = 72  # characters of a window, below which the bar goes without the speed
UNKNOWN = "-"  # in the place of a number that is none


class EpochDisplay:
    """A progress bar on a terminal; in a log a line for each epoch, and within a long one now and then."""

    def __init__(self, bar: Any, epochs: int, *, quiet: bool) -> None:
        self.bar, self.quiet, self.epochs = bar, quiet, epochs
        self.since: float | None = None  # when the last epoch ended
        self.doing = "preparing"
        self.spoken = time.monotonic()
        self.first: tuple[int, float] | None = None  # the first step of this sitting that was seen, and when
        # rich draws a task the moment it is added, so every field that a column names must be there from the start
        self.task = bar.add_task("preparing", total=None, speed="", loss="", error="")

    def loading(self, done: int, total: int) -> None:
        self.doing = f"reading images, {done:,} of {total:,}" if done < total else "first step"
        self.bar.update(self.task, description=self.doing.split(",")[0], completed=done, total=total)

    def step(self, now: Any) -> None:
        done, total = (now.epoch - 1) * now.steps + now.step, now.epochs * now.steps
        self.first = self.first or (done, time.monotonic())
        left = self._left(done, total)
        self.doing = (
            f"epoch {now.epoch}/{now.epochs}, step {now.step:,} of {now.steps:,}, loss {number(now.loss, 4)}, "
            f"{rate(now.images_per_s)} images/s" + (f", about {duration(left)} left" if left is not None else "")
        )
        self.bar.update(
            self.task,
            description=f"epoch {now.epoch}/{now.epochs}",
            total=total,
            completed=done,
            speed=f"{rate(now.images_per_s)} images/s",
            loss=f"loss {number(now.loss, 4)}",
            error="" if math.isnan(now.error) else f"error {percent(now.error)}",
        )

    def _left(self, done: int, total: int) -> float | None:
        """Seconds, by the steps since the first one, which compiles and warms up."""
        if self.first is None or done == self.first[0]:
            return None
        return (time.monotonic() - self.first[1]) / (done - self.first[0]) * (total - done)

    def note(self, sentence: str) -> None:
        if not self.quiet:
            self.spoken = time.monotonic()
            self.bar.console.print(f"convatlas: {visible(sentence)}", highlight=False, markup=False)

    def epoch(self, row: dict[str, Any]) -> None:
        now = time.monotonic()
        each = row["seconds"] if self.since is None else now - self.since
        self.since, left = now, each * (self.epochs - row["epoch"])
        self.doing = f"epoch {row['epoch'] + 1}/{self.epochs}"
        if self.quiet:
            return
        self.spoken = now
        split = "val" if "val_loss" in row else "test"
        others = [name for name in SCORES if name in row]  # in the place of the error, where a task has them
        reached = "  ".join(f"{score_name(name, row.get('protocol'))} {percent(row[name]):>6}" for name in others)
        error = f"  error {percent(row['train_error']):>6}" if "train_error" in row else ""
        line = (
            f"epoch {row['epoch']:>3}/{self.epochs}   "
            f"train loss {number(row['train_loss'], 4)}{error}   "
            f"{split} loss {number(row[f'{split}_loss'], 4)}  "
            f"{reached or 'error ' + percent(row[f'{split}_error']).rjust(6)}"
        )
        pace = f"   {rate(row['images_per_s'])} images/s" + (f"   {duration(left)} left" if left else "")
        out = console()
        out.print(line + pace if len(line + pace) <= out.width else line)  # the bar tells the pace too

    def speak(self, ended: threading.Event) -> None:
        """Says in a log what the run is at, first after some seconds, then more and more seldom."""
        pause = SPEAKS_AFTER
        while not ended.wait(max(self.spoken + pause - time.monotonic(), 0.1)):
            if time.monotonic() - self.spoken >= pause:
                self.spoken = time.monotonic()
                print(f"convatlas: {self.doing} ...", file=sys.stderr, flush=True)
                pause = min(2 * pause, SPEAKS_AT_MOST)


@contextmanager
def epoch_display(epochs: int, *, quiet: bool) -> Iterator[EpochDisplay]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    hush()
    columns = [TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()]
    terminal = Console(stderr=True)
    names = ("speed", "loss", "error") if terminal.width >= NARROW else ("loss", "error")
    columns += [TextColumn(f"{{task.fields[{name}]}}") for name in names]
    with Progress(*columns, console=terminal, transient=True, disable=quiet or not terminal.is_terminal) as bar:
        display, ended = EpochDisplay(bar, epochs, quiet=quiet), threading.Event()
        speaker = threading.Thread(target=display.speak, args=(ended,), daemon=True)
        if not quiet and not terminal.is_terminal:
            speaker.start()
        try:
            yield display
        finally:
            ended.set()


def percent(fraction: float | None) -> str:
    """0.0123 -> "1.23%"; what is no number is a dash."""
    return UNKNOWN if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f}%"


def number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"
