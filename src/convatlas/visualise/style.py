"""How every figure looks: one typeface, one palette, legible on white paper and beside a dark page."""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#1f2933"
MUTED = "#6b7785"
FAINT = "#d9dee4"
TRAIN = "#3b6ea8"
TEST = "#c4501b"
PUBLISHED = "#3f7d4e"
ON_CELL = "#10171d"  # text on a coloured cell: the same in light and dark
TIMES = " \N{MULTIPLICATION SIGN} "
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--line",
    TRAIN: "--train",
    TEST: "--test",
    PUBLISHED: "--published",
}

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be selected, and takes the page's typeface
    "svg.hashsalt": "convatlas",  # the same figure gives the same bytes
}


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings for one figure; the caller's own settings are back afterwards."""
    with mpl.rc_context(RC):
        yield


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an <svg> element for a page; `label` is what a screen reader says.

    The house colours become CSS variables (--ink, --muted, --line, --train, --test, --published), so that the figure
    follows the page into dark mode. Pictures inside stay as they are.
    """
    buffer = io.StringIO()
    with house_style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    width = figure.get_figwidth() * 96
    head, _, body = text.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{html.escape(label)}" style="max-width:{width:.0f}px">{body}'


def around_grey(signal: NDArray[Any], *, bgr: bool = False, quantile: float = 0.99) -> NDArray[Any]:
    """A signed signal (C, H, W) as a picture (H, W, 3) or (H, W) in [0, 1]: zero is mid-grey.

    The scale is symmetric; the few values above the quantile of all sizes are cut, or they would leave the rest dull.
    """
    values = signal[::-1] if bgr else signal
    picture = values.transpose(1, 2, 0) if len(values) == 3 else values.mean(axis=0)
    sizes = np.abs(picture[picture != 0])
    limit = float(np.quantile(sizes, quantile)) if sizes.size else 1.0
    return np.clip(picture / (2 * limit) + 0.5, 0, 1)
