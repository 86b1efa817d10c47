"""Latency measured side by side: warm-up, then rounds in which every subject runs once, medians and quartiles.

In turns, so that a machine which slows down for a while slows all subjects.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Pass:
    """One forward pass of one batch."""

    seconds: float
    energy_j: float | None = None  # of the processor's package; None: the machine does not report it


@dataclass(frozen=True)
class Timing:
    """Forward passes of one batch."""

    batch: int
    passes: int
    latency_ms: float  # of the whole batch, median
    quartiles_ms: tuple[float, float]
    images_per_s: float
    energy_j: float | None  # median of the passes; None: the machine does not report it
    warm: bool = True  # False: the budget allowed a single pass, the first one


Subject = Callable[[float], Pass | None]  # one pass within so many seconds; None: it would take longer, or it failed


def measure(
    subjects: Mapping[str, Subject],
    *,
    batch: int,
    budget_s: float,
    warmup: int = 2,
    rounds: int = 15,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Timing | None]:
    """Runs all subjects in turns, and none beyond its budget.

    Args:
        subjects: name -> one forward pass of a batch.
        batch: images that a pass takes.
        budget_s: seconds for one subject; a pass that would probably end later is not begun, and the first one is
            given no more than these.
        warmup: passes before the first measurement, where there is time for more.
        rounds: measurements at most.
        on_progress: called with the number of passes done.

    Returns:
        The timings; None for a subject whose first pass did not fit.
    """
    passes: dict[str, list[Pass]] = {name: [] for name in subjects}
    active = dict(subjects)
    done = 0
    for _ in range(warmup + rounds):
        for name, run in list(active.items()):
            left = budget_s - sum(one.seconds for one in passes[name])
            if passes[name] and passes[name][-1].seconds > left:
                del active[name]
                continue
            found = run(left)
            if found is None:
                del active[name]
                continue
            passes[name].append(found)
            done += 1
            if on_progress is not None:
                on_progress(done)
    return {name: _timing(batch, found, warmup) if found else None for name, found in passes.items()}


def _timing(batch: int, passes: list[Pass], warmup: int) -> Timing:
    counted = passes[min(warmup, len(passes) - 1) :]
    seconds = [one.seconds for one in counted]
    joules = [one.energy_j for one in counted if one.energy_j is not None]
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    energy = statistics.median(joules) if joules else None
    return Timing(
        batch, len(seconds), 1e3 * median, (1e3 * low, 1e3 * high), batch / median, energy, warm=len(passes) > 1
    )


def package_energy_j() -> float | None:
    """What the processor's packages have used since some moment; None where the machine does not say (Intel RAPL)."""
    counters = [*RAPL.glob("intel-rapl:?/energy_uj")]
    try:
        return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None
    except (OSError, ValueError):
        return None
