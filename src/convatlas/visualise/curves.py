"""Loss and error over the epochs of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convatlas.structures import SCORES
from convatlas.visualise.style import MUTED, PUBLISHED, TEST, TRAIN, house_style

SIZE = (5.0, 3.3)  # inches

Rows = Sequence[Mapping[str, Any]]


def loss_figure(metrics: Rows) -> Figure:
    """The loss for train and test.

    `metrics` are the lines of metrics.jsonl: epoch (from 1), train_loss, test_loss, train_error, test_error.
    A value that is absent or None leaves a gap.
    """
    with house_style():
        sheet = Figure(figsize=SIZE, layout="constrained")
        axis = sheet.add_subplot()
        draw(axis, metrics, "loss")
        axis.set_title("Loss")
    return sheet


def error_figure(metrics: Rows, published_error: float | None = None) -> Figure:
    """The error in percent for train and test; the published error (a fraction) as a dashed line.

    The scale is logarithmic where the errors fall by more than a factor of 8: the end is what one compares.
    """
    with house_style():
        sheet = Figure(figsize=SIZE, layout="constrained")
        axis = sheet.add_subplot()
        draw(axis, metrics, "error")
        axis.set_title("Error")
        values = [row.get(f"{split}_error") for row in metrics for split in ("train", "val", "test")]
        known = [value for value in values if value]
        if known and max(known) > 8 * min(known):
            axis.set_yscale("log")
            axis.yaxis.set_minor_formatter(FuncFormatter(percent_of_some))
        else:
            axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        if published_error is not None:
            axis.axhline(published_error, color=PUBLISHED, linestyle=(0, (5, 3)), linewidth=1.2)
            axis.annotate(
                f"published {100 * published_error:.3g}%",
                (1, published_error),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=PUBLISHED,
                fontsize=8,
            )
    return sheet


def scores_figure(metrics: Rows) -> Figure:
    """The test part's scores in percent, by the names that the rows have of them."""
    with house_style():
        sheet = Figure(figsize=SIZE, layout="constrained")
        axis = sheet.add_subplot()
        for name, label in SCORES.items():
            values = [nan_if_absent(row.get(name)) for row in metrics]
            if any(value == value for value in values):
                axis.plot([row["epoch"] for row in metrics], values, linewidth=1.5, label=label)
        axis.grid(axis="y")
        axis.set_xlabel("epoch")
        axis.set_title("Scores on the test part")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        if axis.lines:
            axis.legend(frameon=False)
    return sheet


def percent_of_some(value: float, _: int) -> str:
    """Between the powers of ten, only 2 and 5 are worth a label."""
    leading = f"{value:e}"[0]
    return f"{100 * value:g}%" if leading in "25" else ""


def draw(axis: Axes, metrics: Rows, quantity: str) -> None:
    epochs = [row["epoch"] for row in metrics]
    for split, colour in (("train", TRAIN), ("val", TEST), ("test", TEST)):  # a run has one of the last two
        values = [nan_if_absent(row.get(f"{split}_{quantity}")) for row in metrics]
        if all(value != value for value in values):
            continue
        marker = "o" if len(epochs) <= 30 else None
        axis.plot(epochs, values, color=colour, marker=marker, markersize=3, linewidth=1.5, label=split)
    axis.grid(axis="y")
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(epochs) == 1:
        axis.set_xlim(epochs[0] - 1, epochs[0] + 1)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, labelcolor=MUTED)


def nan_if_absent(value: Any) -> float:
    return float("nan") if value is None else float(value)
