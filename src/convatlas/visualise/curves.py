"""Loss, error and learning rate over the epochs of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convatlas import readable
from convatlas.records import SCORES
from convatlas.visualise.style import CHART, MUTED, PUBLISHED, SERIES, TEST, TRAIN, house_style

SPLITS = (("train", TRAIN), ("val", SERIES[4]), ("test", TEST))

Rows = Sequence[Mapping[str, Any]]
LINE: dict[str, Any] = {"markersize": 3, "linewidth": 1.5}


def loss_figure(metrics: Rows) -> Figure:
    """The loss for train, validation and test.

    `metrics` are the lines of metrics.jsonl: epoch (from 1), train_loss, test_loss, train_error, test_error ...
    A value that is absent or None leaves a gap.
    """
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        draw(axis, metrics, "loss")
        axis.set_title("Loss")
    return sheet


def error_figure(metrics: Rows, published_error: float | None = None) -> Figure:
    """The error in percent for train and test; the published error (a fraction) as a dashed line.

    The scale is logarithmic where the errors fall by more than a factor of 8: the end is what one compares.
    """
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        draw(axis, metrics, "error")
        axis.set_title("Error")
        values = [row.get(f"{split}_error") for row in metrics for split, _ in SPLITS]
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
    """The scores in percent, by the names that the rows have of them."""
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        for name, label in SCORES.items():
            values = [nan_if_absent(row.get(name)) for row in metrics]
            if any(value == value for value in values):
                axis.plot([row["epoch"] for row in metrics], values, marker=marker(metrics), label=label, **LINE)
        over_epochs(axis, metrics)
        axis.set_title("Scores")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    return sheet


def rate_figure(metrics: Rows) -> Figure | None:
    """The learning rate at the end of each epoch; logarithmic where it falls by more than a factor of 8, not to 0.

    None where no row has one above 0: a rule of its own knows no rate.
    """
    rates = [nan_if_absent(row.get("learning_rate")) for row in metrics]
    known = [rate for rate in rates if rate > 0]
    if not known:
        return None
    with house_style():
        sheet = Figure(figsize=CHART, layout="constrained")
        axis = sheet.add_subplot()
        axis.plot([row["epoch"] for row in metrics], rates, marker=marker(metrics), color=SERIES[5], **LINE)
        if max(known) > 8 * min(known) and len(known) == len(rates):
            axis.set_yscale("log")
            axis.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        else:
            axis.set_ylim(0, 1.15 * max(known))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable.amount(value)))
        over_epochs(axis, metrics)
        axis.set_title("Learning rate")
    return sheet


def percent_of_some(value: float, _: int) -> str:
    """Between the powers of ten, only 2 and 5 are worth a label."""
    leading = f"{value:e}"[0]
    return f"{100 * value:g}%" if leading in "25" else ""


def draw(axis: Axes, metrics: Rows, quantity: str) -> None:
    epochs = [row["epoch"] for row in metrics]
    for split, colour in SPLITS:
        values = [nan_if_absent(row.get(f"{split}_{quantity}")) for row in metrics]
        if all(value != value for value in values):
            continue
        axis.plot(epochs, values, color=colour, marker=marker(metrics), label=split, **LINE)
    over_epochs(axis, metrics)


def over_epochs(axis: Axes, metrics: Rows) -> None:
    """What every curve over the epochs has: whole epochs below, a light grid, and a legend of several lines."""
    axis.grid(axis="y")
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(metrics) == 1:
        axis.set_xlim(metrics[0]["epoch"] - 1, metrics[0]["epoch"] + 1)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, labelcolor=MUTED)


def marker(metrics: Rows) -> str | None:
    return "o" if len(metrics) <= 30 else None


def nan_if_absent(value: Any) -> float:
    return float("nan") if value is None else float(value)
