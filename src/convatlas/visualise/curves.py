"""Loss and error over the epochs of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convatlas.visualise.style import MUTED, PUBLISHED, TEST, TRAIN, house_style

Rows = Sequence[Mapping[str, Any]]


def figure(metrics: Rows, published_error: float | None = None, published_label: str = "published") -> Figure:
    """Loss on the left, error on the right, for train and test; the published error (a fraction) as a dashed line.

    `metrics` are the lines of metrics.jsonl: epoch (from 1), train_loss, test_loss, train_error, test_error.
    A value that is absent or None leaves a gap.
    """
    with house_style():
        sheet = Figure(figsize=(10, 3.5), layout=ConstrainedLayoutEngine(wspace=0.08))
        loss, error = sheet.subplots(1, 2)
        draw(loss, metrics, "loss")
        loss.set_title("Loss")
        draw(error, metrics, "error")
        error.set_title("Error")
        values = [row.get(f"{split}_error") for row in metrics for split in ("train", "test")]
        known = [value for value in values if value]
        if known and max(known) > 8 * min(known):
            error.set_yscale("log")  # the end of training is what one compares
            error.yaxis.set_minor_formatter(FuncFormatter(percent_of_some))
        else:
            error.set_ylim(bottom=0)
        error.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        if published_error is not None:
            error.axhline(published_error, color=PUBLISHED, linestyle=(0, (5, 3)), linewidth=1.2)
            error.annotate(
                f"{published_label} {100 * published_error:.3g}%", (1, published_error),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", color=PUBLISHED, fontsize=8,
            )  # fmt: skip
    return sheet


def percent_of_some(value: float, _: int) -> str:
    """Between the powers of ten, only 2 and 5 are worth a label."""
    leading = f"{value:e}"[0]
    return f"{100 * value:g}%" if leading in "25" else ""


def draw(axis: Axes, metrics: Rows, quantity: str) -> None:
    epochs = [row["epoch"] for row in metrics]
    for split, colour in (("train", TRAIN), ("test", TEST)):
        values = [nan_if_absent(row.get(f"{split}_{quantity}")) for row in metrics]
        if all(value != value for value in values):
            continue
        marker = "o" if len(epochs) <= 30 else None
        axis.plot(epochs, values, color=colour, marker=marker, markersize=3, linewidth=1.5, label=split)
    axis.grid(axis="y")
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, labelcolor=MUTED)


def nan_if_absent(value: Any) -> float:
    return float("nan") if value is None else float(value)
