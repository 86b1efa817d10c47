"""Curves of dense predictions: mean IoU by the distance from a border, correct joints by the distance allowed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convatlas.visualise.style import CHART, FAINT, MUTED, PALE, SERIES, TEST, house_style


def trimap_figure(widths: Sequence[int], mean_iu: Mapping[str, Sequence[float]]) -> Figure:
    """DeepLab's figure: mean IoU among the pixels within some of a border, one line for each way to predict."""
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        for number, (name, values) in enumerate(mean_iu.items()):
            colour = TEST if len(mean_iu) == 1 else SERIES[number % len(SERIES)]
            axis.plot(widths, [100 * value for value in values], "o-", markersize=3, label=name, color=colour)
        axis.set(xlabel="pixels on either side of a border", ylabel="mean IoU (%)", title="Near the borders")
        axis.set_xlim(left=0)
        axis.grid(axis="y", color=FAINT)
        if len(mean_iu) > 1:
            axis.legend(frameon=False, fontsize=8)
    return sheet


def pck_figure(distances: NDArray[np.float64], joints: Sequence[str], threshold: float) -> Figure:
    """The part of marked joints that lie within a distance, (N, J) with NaN where not marked: all joints, the worst."""
    limits = np.linspace(0, 2 * threshold, 101)
    marked = ~np.isnan(distances)
    of_joint = {
        name: 100 * (distances[marked[:, joint], joint][:, None] <= limits).mean(axis=0)
        for joint, name in enumerate(joints)
        if marked[:, joint].any()
    }
    worst = min(of_joint, key=lambda name: of_joint[name][50], default=None)
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        for name, values in of_joint.items():
            axis.plot(limits, values, color=PALE, lw=0.6)
            if name == worst:
                axis.plot(limits, values, color=MUTED, lw=1.4, label=f"{name} (the worst)")
        if marked.any():
            axis.plot(limits, 100 * (distances[marked][:, None] <= limits).mean(axis=0), color=TEST, lw=2, label="all")
            axis.legend(frameon=False, fontsize=8, loc="lower right")
        axis.axvline(threshold, color=MUTED, lw=0.8, linestyle=":")
        axis.set(xlabel="distance allowed", ylabel="joints found (%)", title="Joints by distance allowed")
        axis.set(xlim=(0, limits[-1]), ylim=(0, 100))
    return sheet
