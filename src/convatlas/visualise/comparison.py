"""The charts of Canziani, Paszke and Culurciello, "An Analysis of Deep Neural Network Models for Practical
Applications", arXiv:1605.07678, 2016, for any networks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from convatlas import readable
from convatlas.visualise.style import CHART, INK, MUTED, PUBLISHED, TEST, TRAIN, house_style

WIDE = (4.6, 3.8)  # inches, of many networks
FEW = 5  # networks whose names have room in a chart for a telephone
MOST_TICKS = 6
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


@dataclass(frozen=True)
class Point:
    """A network's cost."""

    name: str
    multiply_adds: int
    times: Mapping[int, tuple[float, tuple[float, float]]]  # batch -> milliseconds: the median, and the quartiles
    memory_bytes: Mapping[int, int]  # by batch


@dataclass(frozen=True)
class Known:
    """A network whose accuracy is known; those of one chart are of the same data by the same protocol."""

    name: str
    accuracy: float  # fraction
    multiply_adds: int
    parameters: int
    published: bool
    density: float | None  # points for each million parameters


def accuracy_figure(known: Sequence[Known]) -> Figure | None:
    """Accuracy against multiply-adds, circles as large as the networks; None for fewer than two."""
    known = [one for one in known if one.multiply_adds]
    if len(known) < 2:
        return None
    largest = max(one.parameters for one in known) or 1
    with house_style():
        sheet, axis = _sheet("multiply-adds of one image", "%", len(known))
        for one in known:
            colour = PUBLISHED if one.published else TEST
            area = 30 + 900 * one.parameters / largest
            axis.scatter(one.multiply_adds, 100 * one.accuracy, s=area, color=colour, alpha=0.3, linewidths=0)
            axis.scatter(one.multiply_adds, 100 * one.accuracy, s=9, color=colour)
        axis.margins(0.16)
        _logarithmic(axis, "x", _scaled)
        _label(axis, [(one.multiply_adds, 100 * one.accuracy, one.name) for one in known])
    return sheet


def time_figure(points: Sequence[Point], batches: Sequence[int]) -> Figure | None:
    """Time of one image against multiply-adds, for the smallest and the largest batch, with the quartiles."""
    timed = [point for point in points if point.times and point.multiply_adds]
    if not timed:
        return None
    with house_style():
        sheet, axis = _sheet("multiply-adds of one image", "ms for one image", len(timed))
        named: dict[str, tuple[float, float, str]] = {}
        dots = []
        for batch, colour in zip(dict.fromkeys((batches[0], batches[-1])), (TRAIN, TEST), strict=False):
            own = [(point, *point.times[batch]) for point in timed if batch in point.times]
            if not own:
                continue
            x = [point.multiply_adds for point, _, _ in own]
            y = [median / batch for _, median, _ in own]
            spread = [
                [(median - low) / batch for _, median, (low, _) in own],
                [(high - median) / batch for _, median, (_, high) in own],
            ]
            axis.errorbar(x, y, yerr=spread, fmt="o", markersize=4, color=colour, label=f"batch {batch}", elinewidth=1)
            dots += list(zip(x, y, strict=True))
            for (point, _, _), a, b in zip(own, x, y, strict=True):
                named.setdefault(point.name, (a, b, point.name))
        axis.margins(0.16)
        axis.set_yscale("log")
        _logarithmic(axis, "x", _scaled)
        _logarithmic(axis, "y", readable.amount)
        sheet.legend(loc="outside upper left", ncols=2, frameon=False, labelcolor=MUTED)
        _label(axis, list(named.values()), dots)
    return sheet


def memory_figure(points: Sequence[Point], batches: Sequence[int]) -> Figure | None:
    """Memory against the batch: weights and the peak of a forward pass; None for one batch size."""
    if len(batches) < 2 or not points:
        return None
    with house_style():
        sheet, axis = _sheet("images in a batch", "weights and peak of a forward pass", len(points))
        for point in points:
            sizes = [point.memory_bytes[batch] for batch in batches]
            axis.plot(batches, sizes, "-o", color=TRAIN, alpha=0.8, ms=3, lw=1)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        _logarithmic(axis, "y", _bytes, base=2)
        axis.set_xticks(batches, [str(batch) for batch in batches])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlim(batches[0] / 1.1, batches[-1] * (batches[-1] / batches[0]) ** 0.6)
        _label_ends(axis, [(batches[-1], point.memory_bytes[batches[-1]], point.name) for point in points])
    return sheet


def density_figure(known: Sequence[Known]) -> Figure | None:
    """Information density: points of accuracy for each million parameters; None for fewer than two networks."""
    dense = sorted((one for one in known if one.density is not None), key=lambda one: one.density or 0)
    if len(dense) < 2:
        return None
    with house_style():
        sheet = Figure(figsize=(CHART[0], 0.8 + 0.25 * max(len(dense), 4)), layout="constrained")
        axis = sheet.add_subplot()
        widths = [one.density or 0.0 for one in dense]
        axis.barh(range(len(dense)), widths, color=TRAIN, height=0.65)
        axis.set_yticks(range(len(dense)), [one.name for one in dense], color=INK)
        for place, width in enumerate(widths):
            axis.annotate(
                readable.amount(width), (width, place), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=8, color=MUTED,
            )  # fmt: skip
        axis.set_xlabel("points for each million parameters")
        axis.set_xticks([])  # every bar has its number
        axis.margins(x=0.25)
    return sheet


def _sheet(x: str, y: str, count: int) -> tuple[Figure, Axes]:
    sheet = Figure(figsize=WIDE if count > FEW else (CHART[0], 2.9), layout="constrained")
    axis = sheet.add_subplot()
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(True, which="major")
    axis.set_axisbelow(True)
    return sheet, axis


def _logarithmic(axis: Axes, which: str, text: Any, *, base: int = 10) -> None:
    """A logarithmic axis with at most six labels, at round numbers, as people write them."""
    side = axis.xaxis if which == "x" else axis.yaxis
    if which == "x":
        axis.set_xscale("log")
    low, high = axis.get_xlim() if which == "x" else axis.get_ylim()
    side.set_major_locator(FixedLocator(ticks(low, high, base=base)))
    side.set_minor_locator(NullLocator())
    side.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    (axis.set_xlim if which == "x" else axis.set_ylim)(low, high)


def ticks(low: float, high: float, *, base: int = 10, limit: int = MOST_TICKS) -> list[float]:
    """Round numbers from `low` to `high` (above 0), at most so many: 1, 2, 5, or 1, 3, or powers of the base.

    >>> ticks(0.9, 11)
    [1.0, 2.0, 5.0, 10.0]
    """
    first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
    found: list[float] = []
    for leading in ((1, 2, 5), (1, 3), (1,)) if base == 10 else ((1,),):
        found = [float(one * base**power) for power in range(first, last + 1) for one in leading]
        found = [value for value in found if low <= value <= high]
        if len(found) <= limit:
            return found or [math.sqrt(low * high)]
    return found[:: -(-len(found) // limit)]


def _scaled(value: float) -> str:
    """2000000 -> "2 M"."""
    for power, prefix in ((9, " G"), (6, " M"), (3, " k")):
        if value >= 10**power:
            return readable.amount(value / 10**power) + prefix
    return readable.amount(value)


def _bytes(value: float) -> str:
    """2097152 -> "2 MiB"."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 1 << power:
            return f"{readable.amount(value / (1 << power))} {unit}"
    return f"{readable.amount(value)} B"


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
    edges = [edge * scale for edge in (axis.bbox.x0, axis.bbox.x1)]
    for (x, y), (px, py, name) in sorted(zip(at, points, strict=True), key=lambda item: item[0][1]):
        width = 4.7 * len(name)
        for dx, dy in PLACES:
            left = x + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
            box = (left, y + dy, left + width, y + dy + 8)
            inside = edges[0] <= box[0] and box[2] <= edges[1]
            if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
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
