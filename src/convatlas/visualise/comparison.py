"""The charts of Canziani, Paszke and Culurciello, "An Analysis of Deep Neural Network Models for Practical
Applications", arXiv:1605.07678, 2016, for any networks."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from convatlas.visualise.style import INK, MUTED, PUBLISHED, TEST, TRAIN, house_style

SIZE = (6.4, 4.6)
LINE = 9.5  # points from one name to the next
PLACES = (
    (7, 3),
    (7, -9),
    (-7, 3),
    (-7, -9),
    (0, 9),
    (0, -14),
    (9, 14),
    (9, -20),
    (-9, 14),
    (-9, -20),
    (0, 22),
    (0, -27),
)


def accuracy_figure(entries: Sequence[Any]) -> Figure | None:
    """Accuracy against multiply-adds, circles as large as the networks; None where no accuracy is known."""
    known = [entry for entry in entries if entry.accuracy is not None and entry.cost.multiply_adds]
    if not known:
        return None
    largest = max(entry.cost.parameters for entry in known)
    with house_style():
        sheet, axis = _sheet("multiply-adds of one picture (G)", "top-1 accuracy (%)")
        for entry in known:
            colour = PUBLISHED if entry.accuracy_from.startswith("published") else TEST
            area = 30 + 900 * entry.cost.parameters / largest
            x, y = entry.cost.multiply_adds / 1e9, 100 * entry.accuracy
            axis.scatter(x, y, s=area, color=colour, alpha=0.3, linewidths=0)
            axis.scatter(x, y, s=9, color=colour)
        axis.set_xscale("log")
        _plain_numbers(axis.xaxis)
        axis.margins(0.14)
        _label(axis, [(e.cost.multiply_adds / 1e9, 100 * e.accuracy, e.name) for e in known])
    return sheet


def time_figure(entries: Sequence[Any]) -> Figure:
    """Time of one picture against multiply-adds, for the smallest and the largest batch, with the quartiles."""
    batches = list(entries[0].timings)
    with house_style():
        sheet, axis = _sheet("multiply-adds of one picture (G)", "time for one picture (ms)")
        points, others = [], []
        for batch, colour in zip(dict.fromkeys((batches[0], batches[-1])), (TRAIN, TEST), strict=False):
            x = [entry.cost.multiply_adds / 1e9 for entry in entries]
            timings = [entry.timings[batch] for entry in entries]
            y = [timing.latency_ms / batch for timing in timings]
            spread = [
                [(t.latency_ms - t.quartiles_ms[0]) / batch for t in timings],
                [(t.quartiles_ms[1] - t.latency_ms) / batch for t in timings],
            ]
            axis.errorbar(x, y, yerr=spread, fmt="o", markersize=4, color=colour, label=f"batch {batch}", elinewidth=1)
            if batch == batches[0]:
                points = [(a, b, entry.name) for a, b, entry in zip(x, y, entries, strict=True)]
            else:
                others = list(zip(x, y, strict=True))
        axis.set_xscale("log")
        axis.set_yscale("log")
        _plain_numbers(axis.xaxis)
        _plain_numbers(axis.yaxis)
        axis.margins(0.14)
        axis.legend(frameon=False, labelcolor=MUTED, loc="upper left")
        _label(axis, points, others)
    return sheet


def memory_figure(entries: Sequence[Any]) -> Figure | None:
    """Memory against the batch: weights and the peak of a forward pass; None for one batch size."""
    batches = list(entries[0].memory_bytes)
    if len(batches) < 2:
        return None
    with house_style():
        sheet, axis = _sheet("pictures in a batch", "weights and peak of a forward pass (MiB)")
        for entry in entries:
            axis.plot(
                batches, [entry.memory_bytes[b] / 2**20 for b in batches], "-o", color=TRAIN, alpha=0.7, ms=3, lw=1
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        _plain_numbers(axis.yaxis)
        axis.set_xticks(batches, [str(batch) for batch in batches])
        axis.set_xlim(batches[0] / 1.1, batches[-1] * (batches[-1] / batches[0]) ** 0.45)
        _label_ends(axis, [(batches[-1], entry.memory_bytes[batches[-1]] / 2**20, entry.name) for entry in entries])
    return sheet


def density_figure(entries: Sequence[Any]) -> Figure | None:
    """Information density: points of accuracy for each million parameters."""
    known = sorted((entry for entry in entries if entry.density is not None), key=lambda entry: entry.density)
    if not known:
        return None
    with house_style():
        sheet = Figure(figsize=(SIZE[0], 0.8 + 0.25 * max(len(known), 4)), layout="constrained")
        axis = sheet.add_subplot()
        axis.barh(range(len(known)), [entry.density for entry in known], color=TRAIN, height=0.65)
        axis.set_yticks(range(len(known)), [entry.name for entry in known], color=INK)
        for place, entry in enumerate(known):
            axis.annotate(
                f"{entry.density:.3g}",
                (entry.density, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=MUTED,
            )
        axis.set_xlabel("points of top-1 accuracy for each million parameters")
        axis.margins(x=0.12)
    return sheet


def _sheet(x: str, y: str) -> tuple[Figure, Axes]:
    sheet = Figure(figsize=SIZE, layout="constrained")
    axis = sheet.add_subplot()
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(True, which="major")
    axis.set_axisbelow(True)
    return sheet, axis


def _plain_numbers(axis: Any) -> None:
    """1, 2, 5, 10 along a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _label_ends(axis: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Names to the right of the ends of lines, in their order, as near to them as a line of text each allows."""
    axis.figure.draw_without_rendering()  # type: ignore[union-attr]
    scale = 72 / axis.figure.dpi
    ends = sorted(ends, key=lambda end: end[1])
    at = [axis.transData.transform(end[:2])[1] * scale for end in ends]
    places = list(at)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + LINE)
    limit = axis.bbox.y1 * scale
    for i in reversed(range(len(places))):
        places[i] = limit = min(places[i], limit)
        limit -= LINE
    for (x, y, name), own, place in zip(ends, at, places, strict=True):
        axis.annotate(
            name, (x, y), xytext=(12, place - own), textcoords="offset points", fontsize=8, color=INK, va="center",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def _label(axis: Axes, points: Sequence[tuple[float, float, str]], others: Sequence[tuple[float, float]] = ()) -> None:
    """Names at their points, each at the first place where it covers no other name and no point."""
    axis.figure.draw_without_rendering()  # type: ignore[union-attr]
    scale = 72 / axis.figure.dpi
    at = [axis.transData.transform((x, y)) * scale for x, y, _ in points]
    dots = [*at, *(axis.transData.transform(other) * scale for other in others)]
    taken: list[tuple[float, float, float, float]] = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    for (x, y), (px, py, name) in sorted(zip(at, points, strict=True), key=lambda item: item[0][1]):
        width = 4.7 * len(name)
        for dx, dy in PLACES:
            left = x + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
            box = (left, y + dy, left + width, y + dy + 8)
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                break
        else:
            continue  # no room: the table names it
        taken.append(box)
        far = abs(dy) > 10
        axis.annotate(
            name, (px, py), xytext=(dx, dy), textcoords="offset points", fontsize=8, color=INK, va="bottom",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5} if far else None,
        )  # fmt: skip
