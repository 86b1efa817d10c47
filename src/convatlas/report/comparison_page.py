"""A comparison as a page of charts and tables, and as plain values."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from matplotlib.figure import Figure

from convatlas.report import html
from convatlas.report.accuracy import PUBLISHED, Group, Row, grouped
from convatlas.report.comparison import Entry, label
from convatlas.report.paths import without_paths
from convatlas.training.run import environment
from convatlas.visualise import comparison as charts


def groups(entries: Sequence[Entry]) -> list[Group]:
    """All accuracies, by what they are of."""
    return grouped(
        Row(label(entry), one, entry.cost.parameters if entry.cost else None,
            entry.cost.multiply_adds if entry.cost else None)
        for entry in entries for one in entry.accuracies
    )  # fmt: skip


def values(entries: Sequence[Entry]) -> dict[str, Any]:
    """Plain values, for JSON."""
    return {
        "environment": environment("cpu"),
        "threads": torch.get_num_threads(),
        "networks": [
            {
                "name": entry.name,
                "network": entry.network,
                "input_shape": entry.input_shape,
                "top1_accuracy": entry.accuracy,
                "accuracy_from": entry.accuracy_from,
                "accuracies": [asdict(one) for one in entry.accuracies],
                "parameters": entry.cost.parameters if entry.cost else None,
                "multiply_adds": entry.cost.multiply_adds if entry.cost else None,
                "flops": entry.cost.flops if entry.cost else None,
                "points_per_million_parameters": entry.density,
                "notes": list(entry.notes),
                "batches": [
                    {
                        "batch": batch,
                        "passes": timing.passes,
                        "latency_ms": timing.latency_ms,
                        "latency_quartiles_ms": timing.quartiles_ms,
                        "images_per_s": timing.images_per_s,
                        "energy_j": timing.energy_j,
                        "memory_bytes": entry.memory_bytes[batch],
                    }
                    for batch, timing in entry.timings.items()
                ],
            }
            for entry in entries
        ],
    }


def render(entries: Sequence[Entry]) -> str:
    """The page."""
    batches = sorted({batch for entry in entries for batch in entry.memory_bytes})
    found = groups(entries)
    drawn = _drawn(entries, batches, found)
    return html.render(
        "comparison.html",
        {
            "title": f"{len(entries)} networks",
            "subtitle": "side by side",
            "lead": "What they cost, how fast they are on this machine, and how well they do.",
            "links": [("charts", "Charts"), ("cost", "Cost and speed"), ("accuracy", "Accuracy")],
            "broad": True,
            "entries": [(label(entry), entry) for entry in entries],
            "batches": batches,
            "charts": [(name, html.svg(chart, name), words) for name, chart, words in drawn],
            "groups": found,
            "notes": [(label(entry), without_paths(note)) for entry in entries for note in entry.notes],
            "energy": any(timing.energy_j is not None for entry in entries for timing in entry.timings.values()),
            "threads": torch.get_num_threads(),
            "unknown": [label(entry) for entry in entries if not entry.accuracies],
        },
    )


Drawn = tuple[str, Figure, str]  # the name, the chart, and what a reader needs below it


def _drawn(entries: Sequence[Entry], batches: Sequence[int], found: Sequence[Group]) -> Iterator[Drawn]:
    """The charts: cost, then each group of numbers by itself; one that has nothing to compare is left out."""
    points = [_point(entry) for entry in entries if entry.cost is not None]
    if (figure := charts.time_figure(points, batches)) is not None:
        words = "Bars reach from the first to the third quartile. Every network has its own input size."
        yield "Multiply-adds against time", figure, words
    if (figure := charts.memory_figure(points, batches)) is not None:
        words = "Computed: parameters in float32, and the most that a forward pass holds at once."
        yield "Memory against batch", figure, words
    for group in found:
        known = [_known(row) for row in group.comparable]
        name = group.title[:1].upper() + group.title[1:]
        if (figure := charts.accuracy_figure(known)) is not None:
            words = "Circles are as large as the networks have parameters. Green: published; orange: measured here."
            yield f"{name}, against multiply-adds", figure, words
        if (figure := charts.density_figure(known)) is not None:
            yield f"{name}: information density", figure, "How much accuracy each parameter buys."


def _known(row: Row) -> charts.Known:
    is_published = row.accuracy.source == PUBLISHED
    return charts.Known(
        row.name, row.accuracy.value, row.multiply_adds or 0, row.parameters or 0, is_published, row.density
    )


def _point(entry: Entry) -> charts.Point:
    times = {batch: (timing.latency_ms, timing.quartiles_ms) for batch, timing in entry.timings.items()}
    return charts.Point(label(entry), entry.cost.multiply_adds if entry.cost else 0, times, entry.memory_bytes)
