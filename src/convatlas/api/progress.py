"""How far long work has come: a bar in a terminal, an element in a notebook, nothing where nobody looks on."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnProgress = Callable[[int, int], None]  # (done, total)
_INTERVAL_S = 0.25  # between two drawings


@contextmanager
def show_progress(description: str, *, shown: bool = True) -> Iterator[OnProgress]:
    """A function of (done, total) that draws where it is looked at; it takes its drawing away at the end."""
    if shown and in_notebook():
        with _element(description) as on_progress:
            yield on_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = Console(stderr=True, force_jupyter=False)
    with Progress(*columns, console=terminal, transient=True, disable=not (shown and terminal.is_terminal)) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _element(description: str) -> Iterator[OnProgress]:
    element = NotebookElement()
    drawn = [0.0]

    def on_progress(done: int, total: int) -> None:
        if time.monotonic() - drawn[0] > _INTERVAL_S:
            drawn[0] = time.monotonic()
            element.draw(progress_html(description, done, total))

    try:
        yield on_progress
    finally:
        element.draw("")


class NotebookElement:
    """A piece of HTML in a notebook's output, which is drawn anew in its place."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(""), display_id=True)

    def draw(self, content: str) -> None:
        """Replaces what is shown."""
        if self._handle is not None:
            self._handle.update(self._html(content))


def progress_html(description: str, done: int, total: int) -> str:
    """A bar with its numbers."""
    bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
    return f"{html.escape(description)} {bar} {done:,} of {total:,}"


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this, rather than a terminal or a script."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return "IPKernelApp" in getattr(get_ipython(), "config", {})
