"""Precision against recall of every class, and its mistakes by kind, as Hoiem et al. 2012 draw them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from convatlas.evaluation.error_analysis import KINDS, ClassErrors
from convatlas.records import DetectionEvaluation, PrecisionRecall
from convatlas.visualise.style import CHART, FAINT, INK, MUTED, ON_SERIES, PUBLISHED, SERIES, TEST, TRAIN, house_style

COLOURS = (PUBLISHED, TRAIN, SERIES[3], TEST, SERIES[4])  # of `KINDS`


def precision_recall_figures(evaluation: DetectionEvaluation) -> list[Figure]:
    """For each class that has objects: the curve, and the envelope whose area is VOC's AP."""
    return [
        precision_recall_figure(name, curve, ap)
        for name, curve, ap in zip(evaluation.classes, evaluation.curves, evaluation.ap.tolist(), strict=True)
        if curve.objects
    ]


def precision_recall_figure(name: str, curve: PrecisionRecall, ap: float) -> Figure:
    """One class's precision against recall."""
    recall, precision = curve.recall.numpy(), curve.precision.numpy()
    with house_style():
        sheet = Figure(figsize=(2.6, 2.1), layout="constrained")
        axis = sheet.add_subplot()
        if len(recall):
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            steps = np.concatenate([[0], recall]), np.concatenate([envelope, envelope[-1:]])
            axis.fill_between(*steps, step="post", color=TRAIN, alpha=0.14, linewidth=0)
            axis.plot(recall, precision, color=TRAIN, linewidth=1.2)
        axis.set_title(f"{name if len(name) <= 20 else name[:19] + '…'}  {100 * ap:.1f}")
        axis.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
        axis.grid(color=FAINT)
    return sheet


def kinds_figure(errors: Sequence[ClassErrors], classes: Sequence[str]) -> Figure:
    """For each class the kinds of its first n detections, n being the number of its objects, in percent."""
    shown = [(name, one) for name, one in zip(classes, errors, strict=True) if one.objects]
    with house_style():
        sheet = Figure(figsize=(CHART[0], 0.34 * len(shown) + 1.45), layout="constrained")
        axis = sheet.add_subplot()
        for row, (_, one) in enumerate(shown):
            left, total = 0.0, max(sum(one.counts), 1)
            for count, colour in zip(one.counts, COLOURS, strict=True):
                axis.barh(row, 100 * count / total, left=left, color=colour, height=0.72)
                if 100 * count / total >= 8:
                    axis.text(left + 50 * count / total, row, f"{100 * count / total:.0f}", ha="center", va="center",
                              color=ON_SERIES, fontsize=8)  # fmt: skip
                left += 100 * count / total
        axis.set_yticks(range(len(shown)), [f"{name} ({one.objects})" for name, one in shown])
        axis.tick_params(axis="y", length=0, colors=INK)
        axis.set(xlim=(0, 100), xlabel="of the first n detections (%)")
        axis.invert_yaxis()
        axis.spines["left"].set_visible(False)
        handles = [Patch(color=colour) for colour in COLOURS]
        sheet.legend(handles, KINDS, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return sheet


def trend_figure(errors: Sequence[ClassErrors]) -> Figure:
    """The false detections of all classes together by kind, as more detections are let in."""
    factors = [factor for factor, _ in errors[0].trend]
    counts = np.array([[kinds for _, kinds in one.trend] for one in errors]).sum(0)[:, 1:]  # (T, 4)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        axis.stackplot(factors, shares.T, colors=COLOURS[1:], labels=KINDS[1:])
        axis.set_xscale("log", base=2)
        axis.set_xticks(factors, [f"1/{1 / f:g}" if f < 1 else f"{f:g}" for f in factors])
        axis.set(xlim=(factors[0], factors[-1]), ylim=(0, 100), xlabel="detections for each object",
                 ylabel="of the false ones (%)")  # fmt: skip
        sheet.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=8)
        axis.tick_params(colors=MUTED)
    return sheet
