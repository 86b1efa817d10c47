"""Networks side by side: what they cost, how fast they are here, and how well they classify, where that is known."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from convatlas import inference, registry
from convatlas.analysis.cost import Cost, cost, peak_bytes
from convatlas.analysis.timing import Timing
from convatlas.analysis.trace import trace, trace_network
from convatlas.errors import ConvatlasError
from convatlas.records import LayerRecord, Shape
from convatlas.report.accuracy import PUBLISHED, Accuracy, published
from convatlas.report.comparison_timing import Progress, estimate, time_networks
from convatlas.report.stopwatch import Candidate, Stopwatch
from convatlas.report.tables import duration
from convatlas.sizes import FAILURES

Known = tuple[tuple[Accuracy, ...], tuple[str, ...]]  # accuracies, and why there is none


@dataclass(frozen=True)
class Entry:
    """One network of a comparison."""

    name: str  # as it was asked for: a registered name, or a run folder
    network: str
    input_shape: Shape | None = None
    cost: Cost | None = None
    accuracies: tuple[Accuracy, ...] = ()
    memory_bytes: dict[int, int] = field(default_factory=dict)  # batch -> weights and the peak of a forward pass
    timings: dict[int, Timing] = field(default_factory=dict)  # by batch; without those that did not fit
    notes: tuple[str, ...] = ()  # why a number is absent

    @property
    def accuracy(self) -> float | None:
        """A fraction: the first number that is of this very network."""
        return next((one.value for one in self.accuracies if one.own), None)

    @property
    def accuracy_from(self) -> str:
        """Where `accuracy` comes from: "published: ILSVRC-2012 validation, 10 crops", "unknown"."""
        for one in self.accuracies:
            if one.own:
                measure = one.measure if one.source != PUBLISHED else ""
                note = one.note if one.source != PUBLISHED else ""
                where = ", ".join(filter(None, (one.data, measure, one.protocol, note)))
                return f"{one.source.removesuffix(' here')}: {where}"
        return "unknown"

    @property
    def density(self) -> float | None:
        """Points of accuracy per million parameters (Canziani et al., 2016, figure 10)."""
        if self.accuracy is None or self.cost is None or not self.cost.parameters:
            return None
        return 100 * self.accuracy / (self.cost.parameters / 1e6)


@dataclass(frozen=True)
class Estimate:
    """How long a comparison will take, before it is begun."""

    seconds: float  # for all of it, besides the evaluation of runs
    runs: int  # that are evaluated
    budget_s: float  # after which the rest is cut

    def __str__(self) -> str:
        time = "less than a second" if self.seconds < 1 else f"about {duration(self.seconds)}"
        if self.seconds > self.budget_s:
            return f"this will take {duration(self.budget_s)}, after which the rest is cut; all would take {time}"
        if not self.runs:
            return f"this will take {time}"
        runs = "the run" if self.runs == 1 else f"the {self.runs} runs"
        return f"this will take {time} and what testing {runs} takes, in all at most {duration(self.budget_s)}"


@dataclass(frozen=True)
class Request:
    """What is compared, and how.

    Attributes:
        names: registered names, whose accuracy is the published one, or run folders, which are tested.
        batches: sizes of the batches to time.
        data: what run folders are tested on; None takes their own data.
        data_root: where known data sets lie.
        side: pixels of the input's sides; None takes each network's own.
        budget_s: seconds for building, testing and timing together, from when the process that does it stands ready.
    """

    names: tuple[str, ...]
    batches: tuple[int, ...] = (1, 8)
    data: str | None = None
    data_root: Path | None = None
    side: int | None = None
    budget_s: float = 480.0


def compare(
    request: Request,
    *,
    on_estimate: Callable[[Estimate], None] | None = None,
    on_progress: Progress | None = None,
) -> list[Entry]:
    """Compares registered networks and run folders on this machine's CPU.

    A network that fails does not end the others: its entry's `notes` say why. What does not fit into the budget is cut,
    and the notes say so.

    Args:
        request: what is compared.
        on_estimate: called before anything that takes long.
        on_progress: called with what is done, how much of it, and of how much.

    Raises:
        UsageError: an unknown name.
        ConvatlasError: no network at all could be compared.

    Example:
        >>> entries = compare(Request(("lenet5", "caffe_lenet"), batches=(1,), budget_s=2))
        >>> [entry.network for entry in entries]
        ['lenet5', 'caffe_lenet']
    """
    for name in request.names:
        if not Path(name).is_dir():
            registry.card(name)
    traced = [_trace(name, request) for name in request.names]
    if all(one.error is not None for one in traced) and traced[0].error is not None:
        raise traced[0].error
    places = [place for place, one in enumerate(traced) if one.entry.cost is not None]
    costs = [one.entry.cost for one in traced if one.entry.cost is not None]
    with Stopwatch([_candidate(traced[place]) for place in places], torch.get_num_threads()) as watch:
        started = time.perf_counter()
        watch.start()
        if on_estimate is not None:
            seconds = estimate(costs, request.batches, time.perf_counter() - started)
            runs = sum(one.source is not None for one in traced)
            on_estimate(Estimate(seconds, runs, request.budget_s))
        watch.allow(request.budget_s)
        tested = dict(zip(places, _test([traced[place] for place in places], request, watch), strict=True))
        timed = time_networks(costs, request.batches, watch.left_s, watch, on_progress)
    timings = dict(zip(places, timed, strict=True))
    entries = []
    for place, one in enumerate(traced):
        times, notes = timings.get(place, ({}, []))
        found, reason = tested.get(place, ((), ()))
        entries.append(replace(one.entry, timings=times, accuracies=found, notes=(*one.entry.notes, *notes, *reason)))
    return entries


@dataclass(frozen=True)
class _Traced:
    """A network before it is timed."""

    entry: Entry
    source: inference.Source | None = None
    error: ConvatlasError | None = None


def _trace(name: str, request: Request) -> _Traced:
    try:
        source = inference.open_source(name) if Path(name).is_dir() else None
        network = source.name if source is not None else registry.card(name).name
        shape = registry.card(network).input_shape if source is None else _input_of(source)
        if request.side is not None:
            shape = (shape[0], request.side, request.side)
        if source is None:
            records = trace_network(network, shape)
        else:  # with as many classes as it has learned
            records = trace(copy.deepcopy(source.net).to("meta"), shape)
        sums = cost(records)
    except (ConvatlasError, *FAILURES, OSError) as error:  # whatever it is, the other networks go on
        failure = error if isinstance(error, ConvatlasError) else ConvatlasError(f"{name}: {error}")
        return _Traced(Entry(name, _network_of(name), notes=(str(failure),)), error=failure)
    memory = {batch: _memory(sums, records, batch) for batch in request.batches}
    return _Traced(Entry(name, network, shape, sums, memory_bytes=memory), source)


def _input_of(source: inference.Source) -> Shape:
    """A classifier's input as it was trained; the published one where a network takes images of any size."""
    size = registry.card(source.name).input_shape[1:]
    return (
        source.preprocessing.channels,
        *(source.preprocessing.size if inference.TASKS[source.task].has_fixed_size else size),
    )


def _network_of(name: str) -> str:
    return "unknown" if Path(name).is_dir() else registry.card(name).name


def _memory(sums: Cost, records: Sequence[LayerRecord], batch: int) -> int:
    return sums.weight_bytes + peak_bytes(records, batch)


def _test(traced: Sequence[_Traced], request: Request, watch: Stopwatch) -> list[Known]:
    """What is known of each: the published numbers of a name; of a run what it reaches here, or why that is unknown.

    Testing runs may take half of the seconds, or more where there are several.
    """
    known: list[Known] = []
    left = sum(one.source is not None for one in traced)
    for place, one in enumerate(traced):
        if one.source is None:
            known.append((published(one.entry.network), ()))
            continue
        result = watch.evaluate(place, request.data, request.data_root, watch.left_s / (left + 1))
        left -= 1
        known.append(((), (result,)) if isinstance(result, str) else ((result,), ()))
    return known


def _candidate(one: _Traced) -> Candidate:
    assert one.entry.input_shape is not None  # what could be traced has one
    return Candidate(one.entry.name, one.entry.network, one.source is not None, one.entry.input_shape)


def label(entry: Entry) -> str:
    """A registered name; of a run the folder's own name, and its network."""
    return f"{Path(entry.name).absolute().name} ({entry.network})" if Path(entry.name).is_dir() else entry.network
