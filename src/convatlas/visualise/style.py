"""How every figure looks: one typeface, one palette, legible on white paper and beside a dark page."""

import html
import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import font_manager
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convatlas.visualise import panels

INK = "#1f2933"
MUTED = "#6b7785"
FAINT = "#d9dee4"  # grids: they may be overlooked
PALE = "#868f99"  # lines of single images behind their mean: they may not
TRAIN = "#3b6ea8"
TEST = "#b94a17"
PUBLISHED = "#38734a"
SERIES = (TRAIN, TEST, PUBLISHED, "#8f6410", "#7d5ba6", "#1f7a80", "#a8447a")  # several lines, or kinds of bars
ON_SERIES = "#fefefe"  # text on a bar of one of those colours
ON_CELL = "#10171d"  # text on a coloured cell: the same in light and dark
TIMES = " \N{MULTIPLICATION SIGN} "
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--line",
    PALE: "--pale",
    TRAIN: "--train",
    TEST: "--test",
    PUBLISHED: "--published",
    SERIES[3]: "--ochre",
    SERIES[4]: "--purple",
    SERIES[5]: "--teal",
    SERIES[6]: "--pink",
    ON_SERIES: "--on-series",
}
IMAGE_DPI = 160  # of photographs inside
NARROW = 3.8  # inches that a telephone shows
MOST_CELLS = 12  # a grid of more panels stays one image
CHART = (3.25, 2.4)  # inches of a chart: on a telephone it stands beside nothing and is not made smaller
FALLBACK_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Micro Hei", "Hiragino Sans", "PingFang SC",
    "Microsoft YaHei", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Thai", "Noto Sans Symbols2",
)  # fmt: skip

RC: Any = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class called "$\frac{" is that, and no formula
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.prop_cycle": cycler(color=SERIES),
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be selected, and takes the page's typeface
    "svg.hashsalt": "convatlas",  # the same figure gives the same bytes
}


@cache
def font_families() -> list[str]:
    """matplotlib's own typeface, then those installed here for the scripts that it lacks."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings for one figure; the caller's own settings are back afterwards.

    A character that no installed typeface has is drawn as a box, without a warning: nobody can do anything about it.
    """
    with mpl.rc_context(RC | {"font.family": font_families()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        yield


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an <svg> element for a page; `label` is what a screen reader says.

    The house colours become CSS variables (--ink, --muted, --line, --train ...), so that the figure follows the page
    into dark mode. Images inside stay as they are. Ids are the figure's own, however many stand on one page. The width
    that it was drawn for is the CSS variable --w; narrower than that its text would be too small.

    A figure of several panels that is too wide for a telephone becomes a <div class="cells"> of one <svg> a panel.
    """
    buffer = io.StringIO()
    with house_style():
        figure.savefig(buffer, format="svg", dpi=IMAGE_DPI, transparent=True, metadata={"Date": None, "Creator": None})
        boxes = panels.cells(figure, MOST_CELLS) if figure.get_figwidth() > NARROW else []
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head, _, body = own_ids(text).partition(">")
    says = f'role="img" aria-label="{html.escape(label)}"'
    if len(boxes) >= 2:
        return panels.apart(head, body.rpartition("</svg>")[0], boxes, says)
    width = figure.get_figwidth() * 96
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} {says} style="--w:{width:.0f}px">{body}'


def own_ids(svg: str) -> str:
    """An <svg> whose ids no other of the page has, without those that nothing refers to."""
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    prefix = f"f{zlib.crc32(svg.encode()):08x}-"
    svg = re.sub(r' id="([^"]*)"', lambda at: f' id="{prefix}{at[1]}"' if at[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)


def around_grey(signal: NDArray[Any], *, bgr: bool = False, quantile: float = 0.99) -> NDArray[Any]:
    """A signed signal (C, H, W) as an image (H, W, 3) or (H, W) in [0, 1]: zero is mid-grey.

    The scale is symmetric; the few values above the quantile of all sizes are cut, or they would leave the rest dull.
    """
    values = signal[::-1] if bgr else signal
    image = values.transpose(1, 2, 0) if len(values) == 3 else values.mean(axis=0)
    sizes = np.abs(image[image != 0])
    limit = float(np.quantile(sizes, quantile)) if sizes.size else 1.0
    return np.clip(image / (2 * limit) + 0.5, 0, 1)
