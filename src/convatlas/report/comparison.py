"""Networks side by side: what they cost, how fast they are here, and how well they classify, where that is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup
from torch import nn

from convatlas import inference, registry
from convatlas.analysis.cost import Cost, cost, peak_bytes
from convatlas.analysis.timing import Timing, measure
from convatlas.analysis.trace import trace_network
from convatlas.report.published import published_results
from convatlas.structures import Shape
from convatlas.training.run import environment
from convatlas.visualise import comparison as charts
from convatlas.visualise.style import inline_svg

GROUP_BYTES = 3 << 30  # of weights that are in memory, and measured in turns, together


@dataclass(frozen=True)
class Entry:
    """One network of a comparison."""

    name: str  # as it was asked for: a registered name, or a run folder
    network: str
    input_shape: Shape
    cost: Cost
    accuracy: float | None  # fraction: top-1, or the score that `accuracy_from` names
    accuracy_from: str  # "published: ILSVRC-2012 validation, 10 crops", "measured: digits", "unknown"
    memory_bytes: dict[int, int]  # batch -> weights and the peak of a forward pass
    timings: dict[int, Timing]  # by batch

    @property
    def density(self) -> float | None:
        """Points of top-1 accuracy per million parameters (Canziani et al., 2016, figure 10)."""
        return None if self.accuracy is None else 100 * self.accuracy / (self.cost.parameters / 1e6)


Progress = Callable[[str, int, int], None]  # (what is done, done, total)


def compare(
    names: Sequence[str],
    batches: Sequence[int],
    *,
    data: str | None = None,
    data_root: Path | None = None,
    side: int | None = None,
    budget_s: float = 480.0,
    on_progress: Progress | None = None,
) -> list[Entry]:
    """Compares registered networks and run folders on this machine's CPU.

    Args:
        names: registered names, whose accuracy is the published one, or run folders, which are tested.
        batches: sizes of the batches to time.
        data: what run folders are tested on; None takes their own data.
        data_root: where known data sets lie.
        side: pixels of the input's sides; None takes each network's own.
        budget_s: seconds for all timing together.
        on_progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an unknown name, or an input that a network can't take.
    """
    opened = [_open(name) for name in names]
    shapes = [_shape(network, side) for _, network in opened]
    records = [trace_network(network, shape) for (_, network), shape in zip(opened, shapes, strict=True)]
    accuracies = [_accuracy(source, network, data, data_root) for source, network in opened]
    timings: list[dict[int, Timing]] = [{} for _ in names]
    share = budget_s / max(len(names) * len(batches), 1)
    finished = 0
    for group in _groups([cost(traced).weight_bytes for traced in records]):
        nets = {i: _net(*opened[i], shapes[i]) for i in group}
        for batch in batches:
            inputs = {i: torch.randn(batch, *shapes[i]) for i in group}
            with torch.inference_mode():
                subjects = {str(i): (lambda net=nets[i], pictures=inputs[i]: net(pictures)) for i in group}
                found = measure(subjects, batch=batch, budget_s=share)
            for i in group:
                timings[i][batch] = found[str(i)]
            finished += len(group)
            if on_progress is not None:
                on_progress(f"batch {batch}", finished, len(names) * len(batches))
    entries = []
    for i, name in enumerate(names):
        sums = cost(records[i])
        memory = {batch: sums.weight_bytes + peak_bytes(records[i], batch) for batch in batches}
        entries.append(Entry(name, opened[i][1], shapes[i], sums, *accuracies[i], memory, timings[i]))
    return entries


def _open(name: str) -> tuple[inference.Source | None, str]:
    if Path(name).is_dir():
        source = inference.open_source(name)
        return source, source.name
    return None, registry.card(name).name


def _shape(network: str, side: int | None) -> Shape:
    shape = registry.card(network).input_shape
    return shape if side is None else (shape[0], side, side)


def _net(source: inference.Source | None, network: str, shape: Shape) -> nn.Module:
    if source is not None:
        return source.net.cpu().eval()
    return registry.build(network, in_channels=shape[0]).eval()


def _accuracy(
    source: inference.Source | None, network: str, data: str | None, data_root: Path | None
) -> tuple[float | None, str]:
    if source is not None:
        dataset, found = inference.score(source, data, root=data_root)
        what = next(iter(found.scores()), "top-1").replace("_", " ")
        return 1 - found.error, f"measured: {dataset.name}, {what}, {len(dataset.test):,} samples"
    results = [result for result in published_results(network) if result.top1_error is not None]
    if not results:
        return None, "unknown"
    first = results[0]
    where = ", ".join(filter(None, (first.data, first.protocol)))
    return 1 - float(first.top1_error or 0) / 100, f"published: {where}"


def _groups(weights: Sequence[int]) -> list[list[int]]:
    """Indices in order, as many together as fit into memory."""
    groups: list[list[int]] = []
    held = 0
    for i, size in enumerate(weights):
        if not groups or held + size > GROUP_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(i)
        held += size
    return groups


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
                "parameters": entry.cost.parameters,
                "multiply_adds": entry.cost.multiply_adds,
                "flops": entry.cost.flops,
                "points_per_million_parameters": entry.density,
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
    batches = list(entries[0].timings)
    figures = {
        "accuracy": charts.accuracy_figure(entries),
        "time": charts.time_figure(entries),
        "memory": charts.memory_figure(entries),
        "density": charts.density_figure(entries),
    }
    folder = resources.files("convatlas.report")
    template = folder.joinpath("comparison.html").read_text(encoding="utf-8")
    page = folder.joinpath("template.html").read_text(encoding="utf-8")
    style = page[page.index("<style>") + len("<style>") : page.index("</style>")]  # one look for all pages
    sandbox = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return sandbox.from_string(template).render(
        entries=entries,
        batches=batches,
        style=Markup(style),
        figures={name: Markup(inline_svg(figure, name)) if figure else None for name, figure in figures.items()},
        energy=any(timing.energy_j is not None for entry in entries for timing in entry.timings.values()),
        threads=torch.get_num_threads(),
        environment=environment("cpu"),
        unknown=[entry.name for entry in entries if entry.accuracy is None],
    )
