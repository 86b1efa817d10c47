"""The reliability diagram: how often a classifier is right, by how sure it is."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from convatlas.evaluation.calibration import Calibration
from convatlas.visualise.style import CHART, MUTED, TEST, TRAIN, house_style


def figure(found: Calibration) -> Figure:
    """Accuracy in each bin of confidence beside the diagonal, and below the number of samples in each bin."""
    width = np.diff(found.edges)
    middles = found.edges[:-1] + width / 2
    full = found.counts > 0
    with house_style():
        sheet = Figure(figsize=(CHART[0], 3.9), layout="constrained")
        above, below = sheet.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.bar(middles[full], found.accuracies[full], 0.9 * width[full], color=TRAIN, label="right")
        above.plot((0, 1), (0, 1), color=MUTED, linestyle=(0, (5, 3)), linewidth=1)
        above.plot(found.confidences[full], found.accuracies[full], "o", color=TEST, markersize=3.5)
        above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="fraction right", title="Reliability")
        below.bar(middles[full], found.counts[full], 0.9 * width[full], color=MUTED)
        below.set(xlabel="probability of the predicted class", ylabel="images")
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value == int(value) else ""))
        for axis in (above, below):
            axis.grid(axis="y")
            axis.set_axisbelow(True)
        sheet.align_ylabels()
    return sheet
