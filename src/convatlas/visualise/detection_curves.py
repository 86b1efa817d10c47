"""Precision against recall of every class, and its mistakes by kind, as Hoiem et al. 2012 draw them."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from convatlas.evaluation.error_analysis import KINDS, ClassErrors
from convatlas.structures import DetectionEvaluation
from convatlas.visualise.style import FAINT, INK, MUTED, TRAIN, house_style

COLOURS = ("#3f7d4e", "#3b6ea8", "#e0a458", "#c4501b", "#8a6bb1")  # of `KINDS`
_COLUMNS = 4


def precision_recall_figure(evaluation: DetectionEvaluation) -> Figure:
    """One small graph a class that has objects: the curve, and the envelope whose area is VOC's AP."""
    shown = [(name, curve) for name, curve in zip(evaluation.classes, evaluation.curves, strict=True) if curve.objects]
    columns = min(_COLUMNS, max(len(shown), 1))
    rows = max(1, math.ceil(len(shown) / columns))
    with house_style():
        sheet = Figure(figsize=(2.6 * columns + 0.4, 2.1 * rows + 0.3), layout="constrained")
        axes = sheet.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        for number, (name, curve) in enumerate(shown):
            axis = axes.flat[number]
            recall, precision = curve.recall.numpy(), curve.precision.numpy()
            if len(recall):
                envelope = np.maximum.accumulate(precision[::-1])[::-1]
                steps = np.concatenate([[0], recall]), np.concatenate([envelope, envelope[-1:]])
                axis.fill_between(*steps, step="post", color=TRAIN, alpha=0.14, linewidth=0)
                axis.plot(recall, precision, color=TRAIN, linewidth=1.2)
            ap = evaluation.ap[evaluation.classes.index(name)].item()
            axis.set_title(f"{name}  {100 * ap:.1f}")
            axis.set(xlim=(0, 1), ylim=(0, 1.03))
            axis.grid(color=FAINT)
            if number >= len(shown) - columns:
                axis.set_xlabel("recall")
                axis.tick_params(labelbottom=True)
        for row in axes:
            row[0].set_ylabel("precision")
    return sheet


def kinds_figure(errors: Sequence[ClassErrors], classes: Sequence[str]) -> Figure:
    """For each class the kinds of its first n detections, n being the number of its objects, in percent."""
    shown = [(name, one) for name, one in zip(classes, errors, strict=True) if one.objects]
    with house_style():
        sheet = Figure(figsize=(6.6, 0.34 * len(shown) + 1.2), layout="constrained")
        axis = sheet.add_subplot()
        for row, (_, one) in enumerate(shown):
            left, total = 0.0, max(sum(one.counts), 1)
            for count, colour in zip(one.counts, COLOURS, strict=True):
                axis.barh(row, 100 * count / total, left=left, color=colour, height=0.72)
                if 100 * count / total >= 6:
                    axis.text(left + 50 * count / total, row, f"{100 * count / total:.0f}", ha="center", va="center",
                              color="#ffffff", fontsize=8)  # fmt: skip
                left += 100 * count / total
        axis.set_yticks(range(len(shown)), [f"{name} ({one.objects})" for name, one in shown])
        axis.tick_params(axis="y", length=0, colors=INK)
        axis.set(xlim=(0, 100), xlabel="of as many detections as there are objects (%)")
        axis.invert_yaxis()
        axis.spines["left"].set_visible(False)
        handles = [Patch(color=colour) for colour in COLOURS]
        sheet.legend(handles, KINDS, loc="outside upper center", ncols=len(KINDS), frameon=False)
    return sheet


def trend_figure(errors: Sequence[ClassErrors]) -> Figure:
    """The false detections of all classes together by kind, as more detections are let in."""
    factors = [factor for factor, _ in errors[0].trend]
    counts = np.array([[kinds for _, kinds in one.trend] for one in errors]).sum(0)[:, 1:]  # (T, 4)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with house_style():
        sheet = Figure(figsize=(5.6, 3.2), layout="constrained")
        axis = sheet.add_subplot()
        axis.stackplot(factors, shares.T, colors=COLOURS[1:], labels=KINDS[1:])
        axis.set_xscale("log", base=2)
        axis.set_xticks(factors, [f"1/{1 / f:g}" if f < 1 else f"{f:g}" for f in factors])
        axis.set(xlim=(factors[0], factors[-1]), ylim=(0, 100), xlabel="detections for each object",
                 ylabel="of the false ones (%)")  # fmt: skip
        sheet.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        axis.tick_params(colors=MUTED)
    return sheet
