"""The confusion matrix: which classes are taken for which."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convatlas.visualise.style import FAINT, INK, MUTED, ON_CELL, house_style

MISTAKES = LinearSegmentedColormap.from_list("mistakes", ["#fdeee2", "#f4b98e", "#d9652b", "#7a2a0c"])
HITS = LinearSegmentedColormap.from_list("hits", ["#e4eef6", "#cfe0ef", "#8db4d6", "#6fa0cb"])
LABELLED = 40  # above this many classes only some are named
COUNTED = 20  # above this many classes a cell is too small for its count


def rates(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts (K, K) as fractions of each true class's samples; a class without samples gives a row of 0."""
    totals = confusion.sum(axis=1, keepdims=True)
    return confusion / np.maximum(totals, 1)


def figure(confusion: NDArray[np.int64], classes: tuple[str, ...]) -> Figure:
    """Rows are true classes. Hits are blue on their own scale, so that rare mistakes (orange) stay visible."""
    count = len(classes)
    fractions = rates(confusion)
    hits = np.eye(count, dtype=bool)
    mistakes = np.where(hits, 0, fractions)
    limit = max(float(mistakes.max()), 0.1)  # a single mistake among hundreds must not look like a disaster
    cell = max(0.27, 0.1 * len(f"{confusion.max()}"))  # inches
    side = min(9.0, max(2.2, cell * count if count <= COUNTED else 9.0))
    longest = max(len(name) for name in classes)
    with house_style():
        sheet = Figure(
            figsize=(side + min(2.4, 0.5 + 0.075 * longest), side + min(2.2, 0.6 + 0.06 * longest)),
            layout="constrained",
        )
        axis = sheet.add_subplot()
        axis.imshow(
            np.ma.masked_array(mistakes, hits | (confusion == 0)),
            cmap=MISTAKES,
            vmin=0,
            vmax=limit,
            interpolation="none",
        )
        axis.imshow(
            np.ma.masked_array(fractions, ~hits | (confusion == 0)), cmap=HITS, vmin=0, vmax=1, interpolation="none"
        )
        step = 1 if count <= LABELLED else int(np.ceil(count / LABELLED))
        ticks = list(range(0, count, step))
        names = [classes[tick] if len(classes[tick]) <= 22 else classes[tick][:21] + "…" for tick in ticks]
        size = 8.5 if count <= COUNTED else 7.5
        upright = 0.085 * longest > side / count or count > COUNTED
        axis.set_xticks(ticks, names, rotation=90 if upright else 0, fontsize=size)
        axis.set_yticks(ticks, names, fontsize=size)
        axis.tick_params(length=0, colors=INK)
        axis.set(xlabel="predicted", ylabel="true")
        axis.spines[:].set_visible(False)
        if count <= COUNTED:
            axis.set_xticks(np.arange(-0.5, count), minor=True)
            axis.set_yticks(np.arange(-0.5, count), minor=True)
            axis.grid(which="minor", color=FAINT, linewidth=0.6)
            axis.tick_params(which="minor", length=0)
            for true, predicted in zip(*np.nonzero(confusion), strict=True):
                dark = true != predicted and mistakes[true, predicted] > 0.6 * limit
                axis.text(
                    predicted, true, f"{confusion[true, predicted]}", ha="center", va="center",
                    fontsize=7.5, color="#ffffff" if dark else ON_CELL,
                )  # fmt: skip
        else:
            axis.spines[:].set(visible=True, color=MUTED, linewidth=0.5)
    return sheet
