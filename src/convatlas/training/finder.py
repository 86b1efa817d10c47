"""Which learning rate to begin with: the loss while the rate grows from next to nothing until training breaks.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from convatlas.data import DataSet
from convatlas.errors import ConvatlasError, UsageError
from convatlas.training import distributed
from convatlas.training.recipe import Recipe
from convatlas.training.setup import set_up
from convatlas.training.step import NotFiniteError

_SMOOTHING = 0.9
_BROKEN = 4.0  # times the least loss: from there on nothing is learned from going on


@dataclass(frozen=True)
class RateCurve:
    rates: list[float]  # one a step, ascending
    losses: list[float]  # of each step's batch
    smoothed: list[float]
    suggestion: float  # where the smoothed loss falls fastest


def find_rate(
    recipe: Recipe,
    data: DataSet,
    *,
    device: str | None = None,
    workers: int = 0,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 120,
    on_progress: Callable[[int, int], None] | None = None,
) -> RateCurve:
    """Trains a new network for a few steps, each with a larger learning rate than the one before, and throws it away.

    Raises:
        UsageError: the recipe's rates are its schedule's, so that there is none to find.
        ConvatlasError: the loss broke down before there was anything to see.
    """
    if not hasattr(recipe.optimizer, "lr"):
        raise UsageError(f"find_lr has no place in the {recipe.variant} recipe: its rates are the schedule's")
    setup = set_up(recipe, data, distributed.join(device), workers=workers)
    setup.learner.net.train()
    rates: list[float] = []
    losses: list[float] = []
    epoch, batches = 0, iter(setup.train.epoch(0))
    for step in range(steps):
        batch = next(batches, None)
        if batch is None:
            epoch += 1
            batches = iter(setup.train.epoch(epoch))
            batch = next(batches)
        rate = low * (high / low) ** (step / (steps - 1))
        try:
            sums, _ = setup.learner.learn(batch, step, rate)
        except NotFiniteError:
            break
        loss = float(sums[0]) / len(batch.labels)
        rates.append(rate)
        losses.append(loss)
        if not math.isfinite(loss) or loss > _BROKEN * min(losses):
            break
        if on_progress:
            on_progress(step + 1, steps)
    smoothed = smooth(losses)
    if len(rates) < 10:
        raise ConvatlasError(f"the loss broke down after {len(rates)} steps; there is no curve to look at")
    return RateCurve(rates, losses, smoothed, rates[steepest(smoothed)])


def smooth(values: list[float]) -> list[float]:
    """The exponential moving average, corrected for its start."""
    result, mean = [], 0.0
    for step, value in enumerate(values, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        result.append(mean / (1 - _SMOOTHING**step))
    return result


def steepest(smoothed: list[float]) -> int:
    """Where the curve falls fastest, before its minimum; the rates are evenly spaced on their logarithmic axis."""
    lowest = max(smoothed.index(min(smoothed)), 2)
    slopes = [smoothed[i + 1] - smoothed[i - 1] for i in range(1, lowest)]
    return 1 + slopes.index(min(slopes))
