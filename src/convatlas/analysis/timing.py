"""Latency measured side by side: warm-up, then rounds in which every subject runs once, medians and quartiles.

In turns, so that a machine which slows down for a while slows all subjects.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

RAPL = Path("/sys/class/powercap")
FEWEST = 3  # measurements, whatever the budget


@dataclass(frozen=True)
class Timing:
    """Forward passes of one batch."""

    batch: int
    passes: int
    latency_ms: float  # of the whole batch, median
    quartiles_ms: tuple[float, float]
    images_per_s: float
    energy_j: float | None  # of the processor's package, for one pass; None: the machine does not report it


def measure(
    subjects: Mapping[str, Callable[[], object]],
    *,
    batch: int,
    budget_s: float,
    warmup: int = 2,
    rounds: int = 15,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Timing]:
    """Runs all subjects in turns.

    Args:
        subjects: name -> one forward pass of a batch.
        batch: images that a pass takes.
        budget_s: seconds for one subject; after those it takes part no more, but it has at least three measurements.
        warmup: passes before the first measurement.
        rounds: measurements at most.
        on_progress: called with the number of passes done.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    joules: dict[str, list[float]] = {name: [] for name in subjects}
    done = 0
    spent = dict.fromkeys(subjects, 0.0)
    for number in range(warmup + rounds):
        for name, run in subjects.items():
            if spent[name] > budget_s and (number < warmup or len(seconds[name]) >= FEWEST):
                continue
            energy, started = package_energy_j(), time.perf_counter()
            run()
            elapsed, after = time.perf_counter() - started, package_energy_j()
            spent[name] += elapsed
            if number >= warmup:
                seconds[name].append(elapsed)
                if energy is not None and after is not None and after >= energy:
                    joules[name].append(after - energy)
            done += 1
            if on_progress is not None:
                on_progress(done)
    return {name: _timing(batch, seconds[name], joules[name]) for name in subjects}


def _timing(batch: int, seconds: list[float], joules: list[float]) -> Timing:
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    energy = statistics.median(joules) if joules else None
    return Timing(batch, len(seconds), 1e3 * median, (1e3 * low, 1e3 * high), batch / median, energy)


def package_energy_j() -> float | None:
    """What the processor's packages have used since some moment; None where the machine does not say (Intel RAPL)."""
    counters = [*RAPL.glob("intel-rapl:?/energy_uj")]
    try:
        return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None
    except (OSError, ValueError):
        return None
