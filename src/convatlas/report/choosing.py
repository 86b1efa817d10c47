"""Which network suits a task within limits: printed scores by one protocol, cost, and a short timing here."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from convatlas import facts, registry
from convatlas.analysis.cost import cost
from convatlas.analysis.trace import trace_network
from convatlas.errors import UsageError
from convatlas.facts.comparable import squeeze
from convatlas.facts.scores import scores
from convatlas.records import Task
from convatlas.report.accuracy import published
from convatlas.report.comparison import Request, compare
from convatlas.training.tasks import TASKS
from convatlas.weights.published import published as releases

USUAL: dict[Task, str] = {
    "classification": "ILSVRC-2012 validation",
    "detection": "VOC 2007 test",
    "segmentation": "VOC 2012 test",
    "pose": "MPII test",
}
FEW_IMAGES = 10_000  # rule of thumb: with fewer a network starts from published weights, not from scratch
CLOSE = 1.0  # points that a cheaper network may be behind, to be worth a word
ROUND = 5  # networks timed together
MAX_ROUNDS = 4
SECONDS_EACH = 3.0
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Needs:
    """What a network has to be."""

    task: Task
    max_ms: float | None = None  # of one image on this machine's CPU
    max_parameters: float | None = None
    max_multiply_adds: float | None = None
    images: int | None = None  # to train on
    data: str | None = None  # part of the name of the data set whose printed scores rank
    timed: bool = True


@dataclass(frozen=True)
class Candidate:
    """A network with a printed score."""

    network: str
    score: float  # percent
    measure: str
    data: str
    protocol: str
    confidence: str  # "" where a training recipe holds it
    speed: str  # as printed; "" where it is not
    parameters: int
    multiply_adds: int  # one image, or one region of a detector that looks at regions
    weights: int  # published releases that this program reads
    latency_ms: float | None = None  # one image, here; None: not timed
    note: str = ""


@dataclass(frozen=True)
class Choice:
    """The best first, and why."""

    data: str
    candidates: tuple[Candidate, ...]  # that fit, the best score first
    too_slow: tuple[Candidate, ...]  # that were timed and do not
    excluded: int  # by parameters, multiply-adds or missing weights
    reasons: tuple[str, ...]


def choose(needs: Needs, *, on_progress: Progress | None = None) -> Choice:
    """Chooses among the registered networks of a task that have a printed score.

    Args:
        needs: limits, and which scores rank.
        on_progress: called as `comparison.compare` does.

    Raises:
        UsageError: no such data set, or nothing fits.
    """
    data, known = _scored(needs)
    fitting = [one for one in known if _fits(one, needs)]
    if not fitting:
        raise UsageError(f"no network with a score on {data} is within these limits; {_smallest(known)}")
    kept, slow = _timed(fitting, needs, on_progress) if needs.timed else (fitting, [])
    if not kept:
        fastest = min((one for one in slow if one.latency_ms), key=lambda one: one.latency_ms or 0)
        raise UsageError(
            f"no network with a score on {data} takes {needs.max_ms:g} ms here; "
            f"the fastest of those timed is {fastest.network} with {fastest.latency_ms:.0f} ms"
        )
    return Choice(data, tuple(kept), tuple(slow), len(known) - len(fitting), tuple(_reasons(kept, slow, needs)))


def _scored(needs: Needs) -> tuple[str, list[Candidate]]:
    """(the data set, its networks with their scores, the best first)."""
    found = _classifiers() if TASKS[needs.task].has_classes else _others(needs.task)
    names = list(dict.fromkeys(one.data for one in found))
    wanted = squeeze({"imagenet": "ILSVRC-2012"}.get((needs.data or "").lower(), needs.data or USUAL[needs.task]))
    data = next((name for name in names if wanted in squeeze(name)), None)
    if data is None:
        raise UsageError(f"on is {needs.data!r}; expected one of {', '.join(names)}")
    same = [one for one in found if one.data == data]
    return data, sorted(same, key=lambda one: -one.score)


def _classifiers() -> list[Candidate]:
    """By one view of an image each, so that cost and score are of the same thing."""
    found = []
    for name in registry.names("classification"):
        own = [one for one in published(name) if one.own]
        for data in dict.fromkeys(one.data for one in own):
            single = [one for one in own if one.data == data and not _many_views(one.protocol)]
            if single:
                one = single[0]
                found.append(_candidate(name, 100 * one.value, one.measure, data, one.protocol))
    return found


def _many_views(protocol: str) -> bool:
    return any(word in protocol for word in ("crops", "dense", "networks")) or "best" in protocol


def _others(task: Task) -> list[Candidate]:
    return [
        replace(
            _candidate(one.network, float(one.value), one.measure, one.data, one.protocol),
            confidence=one.confidence,
            speed=one.speed,
        )
        for one in scores()
        if one.task == task
    ]


def _candidate(name: str, score: float, measure: str, data: str, protocol: str) -> Candidate:
    ledger = facts.network(name)
    if ledger is not None and ledger.totals is not None and ledger.totals.multiply_adds:
        parameters, operations = ledger.totals.parameters, ledger.totals.multiply_adds
    else:
        sums = cost(trace_network(name), registry.card(name).input_shape)
        parameters, operations = sums.parameters, sums.multiply_adds
    loadable = sum(not row.fits.startswith("not") for row in releases(name))
    return Candidate(name, score, measure, data, protocol, "", "", parameters or 0, operations or 0, loadable)


def _fits(one: Candidate, needs: Needs) -> bool:
    return (
        one.parameters <= (needs.max_parameters or float("inf"))
        and one.multiply_adds <= (needs.max_multiply_adds or float("inf"))
        and (one.weights > 0 or needs.images is None or needs.images >= FEW_IMAGES)
    )


def _smallest(known: Sequence[Candidate]) -> str:
    small, light = (min(known, key=key) for key in (lambda one: one.parameters, lambda one: one.multiply_adds))
    return (
        f"the smallest is {small.network} with {small.parameters / 1e6:.2f} M parameters, "
        f"the lightest {light.network} with {light.multiply_adds / 1e9:.3f} G multiply-adds"
    )


def _timed(
    fitting: Sequence[Candidate], needs: Needs, on_progress: Progress | None
) -> tuple[list[Candidate], list[Candidate]]:
    """(those that are fast enough, those that are not): the best few timed, and more of them while too few fit."""
    kept: list[Candidate] = []
    slow: list[Candidate] = []
    for start in range(0, min(len(fitting), ROUND * MAX_ROUNDS), ROUND):
        group = fitting[start : start + ROUND]
        request = Request(tuple(one.network for one in group), (1,), budget_s=SECONDS_EACH * len(group))
        for one, entry in zip(group, compare(request, on_progress=on_progress), strict=True):
            timing = entry.timings.get(1)
            measured = replace(
                one, latency_ms=timing.latency_ms if timing else None, note="" if timing else "; ".join(entry.notes)
            )
            late = needs.max_ms is not None and (timing is None or timing.latency_ms > needs.max_ms)
            (slow if late else kept).append(measured)
        if needs.max_ms is None or len(kept) >= 2:
            break
    return kept, slow


def _reasons(kept: Sequence[Candidate], slow: Sequence[Candidate], needs: Needs) -> list[str]:
    best, *rest = kept
    printed = f"{best.score:.4g}%{f', {best.protocol}' if best.protocol else ''}"
    lines = [f"{best.network}: the highest printed {best.measure} on {best.data} of those that fit, {printed}."]
    better = [one for one in slow if one.score > best.score and one.latency_ms]
    if better:
        one = better[0]
        lines.append(f"{one.network} would have {one.score:.4g}%, and takes {one.latency_ms:.0f} ms here.")
    cheaper = [one for one in rest if best.score - one.score <= CLOSE and one.multiply_adds < 0.8 * best.multiply_adds]
    if cheaper:
        one = min(cheaper, key=lambda one: one.multiply_adds)
        operations, parameters = one.multiply_adds / best.multiply_adds, one.parameters / best.parameters
        behind = f"{one.network} is {best.score - one.score:.2g} points behind"
        lines.append(f"{behind}, with {operations:.0%} of the multiply-adds and {parameters:.0%} of the parameters.")
    if needs.images is not None and needs.images < FEW_IMAGES:
        lines.append(
            f"{needs.images:,} images are few: only networks with published weights to start from are listed "
            f"(below {FEW_IMAGES:,}, a rule of thumb)."
        )
    lines += _caveats(kept)
    return lines


def _caveats(kept: Sequence[Candidate]) -> list[str]:
    lines = []
    protocols = dict.fromkeys(one.protocol for one in kept)
    if len(protocols) > 1:
        lines.append("The scores are not all by one protocol: differences of a point or two say nothing.")
    if any(registry.card(one.network).traits.searches_regions for one in kept):
        lines.append(
            "Networks that are given regions: cost is without finding them, which takes seconds. R-CNN's is that of "
            "one region, of which an image has some 2,000; Fast and Faster R-CNN's that of the image and one region."
        )
    if any(one.latency_ms for one in kept) and _is_busy():
        lines.append("The machine was busy with other work while it was timed: these times are too long.")
    if any(one.confidence == "recalled" for one in kept):
        lines.append("Scores marked recalled were not read in the paper.")
    return lines


def _is_busy() -> bool:
    """Whether far more processes want to run than there are cores."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
