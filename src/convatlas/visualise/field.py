"""One unit's receptive field as an image: what it can see, and how strongly it looks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from convatlas.visualise.style import FAINT, MUTED, TEST, TRAIN, house_style

SEEN = LinearSegmentedColormap.from_list("seen", ["white", TRAIN])
STRENGTH = LinearSegmentedColormap.from_list("strength", ["white", "#f3c6a5", TEST, "#5c1f06"])


def figure(region: NDArray[np.bool_], strength: NDArray[np.float64] | None, title: str) -> Figure:
    """(H, W) pixels that the unit sees; beside it, where given, (H, W) how strongly each moves it, 1 at most."""
    with house_style():
        count = 1 if strength is None else 2
        sheet = Figure(figsize=(3.6 * count + 0.4, 4.0), layout="constrained")
        axes = np.atleast_1d(sheet.subplots(1, count))
        axes[0].imshow(region, cmap=SEEN, vmin=0, vmax=1.4, interpolation="nearest")
        axes[0].set_title(f"sees {int(region.sum()):,} pixels")
        if strength is not None:
            drawn = axes[1].imshow(strength, cmap=STRENGTH, vmin=0, vmax=1, interpolation="nearest")
            axes[1].set_title("how strongly each moves it")
            bar = sheet.colorbar(drawn, ax=axes[1], shrink=0.8)
            bar.outline.set_visible(False)  # type: ignore[operator]
        for axis in axes:
            outline(axis, region)
        sheet.suptitle(title, x=0.01, ha="left", fontsize=10, color=MUTED)
    return sheet


def outline(axis: Axes, region: NDArray[np.bool_]) -> None:
    """The smallest rectangle around the field, and the input's edge."""
    rows, columns = np.nonzero(region)
    if len(rows):
        corner = (columns.min() - 0.5, rows.min() - 0.5)
        sides = (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)
        axis.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=TRAIN, linewidth=1.2, clip_on=False))
    axis.set_xlabel("pixel")
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
