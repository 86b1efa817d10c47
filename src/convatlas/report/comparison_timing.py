"""Timing networks in turns within a budget of seconds, and how long that will take."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.nn import functional as F

from convatlas.analysis.cost import Cost
from convatlas.analysis.timing import Timing, measure
from convatlas.report.stopwatch import Stopwatch
from convatlas.report.tables import duration

GROUP_BYTES = 3 << 30  # of weights that are in memory, and measured in turns, together
PASSES = 17  # of a network with a batch, where there is time for all
QUICK_START_S, BYTES_PER_S = 3.0, 150e6  # of the process that times and of random weights, on an idle machine

Progress = Callable[[str, int, int], None]  # (what is done, done, total)
Timed = tuple[dict[int, Timing], list[str]]  # by batch, and what did not fit


def time_networks(
    costs: Sequence[Cost],
    batches: Sequence[int],
    budget_s: float,
    watch: Stopwatch,
    on_progress: Progress | None = None,
) -> list[Timed]:
    """Times the candidates of a stopwatch group by group and batch by batch.

    Args:
        costs: of the candidates.
        batches: sizes, the smallest first.
        budget_s: seconds for all passes together, within those that the stopwatch is allowed.
        watch: runs them.
        on_progress: called with what is done, how much of it, and of how much.
    """
    found: list[Timed] = [({}, []) for _ in costs]
    total, done, left = len(costs) * len(batches), 0, budget_s
    for group in _groups([one.weight_bytes for one in costs]):
        active = [place for place in group if watch.build(place)]
        for place in set(group) - set(active):
            found[place][1].append(watch.reasons[place])
        left = min(left, watch.left_s)
        for batch in batches:
            share = max(left, 0.0) / max(total - done, 1)
            subjects = {str(place): partial(watch.run, place, batch) for place in active}
            timed = measure(subjects, batch=batch, budget_s=share)
            for place in list(active):
                timings, notes = found[place]
                timing, reason = timed[str(place)], watch.reasons.get(place)
                if timing is not None:
                    timings[batch] = timing
                    left -= _spent(timing)
                else:  # a larger batch would not fit either
                    active.remove(place)
                    left -= 0 if reason else share
                if note := _note(timing, batch, share, reason):
                    notes.append(note)
            done += len(group)
            if on_progress is not None:
                on_progress(f"batch {batch}", done, total)
        watch.close()  # and with the process its memory
    return found


def _spent(timing: Timing) -> float:
    """About how long a timing took, its warm-up included."""
    return timing.latency_ms / 1e3 * (timing.passes + (2 if timing.warm else 0))


def _note(timing: Timing | None, batch: int, share: float, reason: str | None) -> str:
    if reason is not None:
        return reason
    if timing is None:
        return f"cut from batch {batch} on: one pass takes longer than its share of the seconds, {duration(share)}"
    return "" if timing.warm else f"batch {batch}: there was time for one pass only, without warm-up"


def _groups(weights: Sequence[int]) -> list[list[int]]:
    """Places in order, as many together as fit into memory."""
    groups: list[list[int]] = []
    held = 0
    for place, size in enumerate(weights):
        if not groups or held + size > GROUP_BYTES:
            groups.append([])
            held = 0
        groups[-1].append(place)
        held += size
    return groups


def estimate(costs: Sequence[Cost], batches: Sequence[int], start_s: float) -> float:
    """Seconds that all passes take, and building before: from multiply-adds and a short probe of this machine.

    Args:
        costs: of the candidates.
        batches: sizes.
        start_s: how long the stopwatch's process took to start.
    """
    speed = probe()
    passes = PASSES * sum(batch * one.multiply_adds / speed for one in costs for batch in batches)
    return passes + max(start_s / QUICK_START_S, 1.0) * sum(one.weight_bytes for one in costs) / BYTES_PER_S


def probe() -> float:
    """Multiply-adds a second of a convolution on this machine."""
    x, weight = torch.randn(1, 64, 56, 56), torch.randn(64, 64, 3, 3)
    with torch.inference_mode():
        F.conv2d(x, weight, padding=1)
        started = time.perf_counter()
        for _ in range(4):
            F.conv2d(x, weight, padding=1)
        return 4 * 56 * 56 * 64 * 64 * 9 / (time.perf_counter() - started)
