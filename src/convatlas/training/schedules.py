"""Learning rates as functions of progress and of what was reached: `rate(base, step, steps, errors)`.

`step` is in [0, steps), `errors` are the test errors after each finished pass. All but `Plateau` depend on progress
alone, so that a shortened run goes through the whole published schedule. None has a state: a run that goes on after
a stop reads the errors back, and with them the rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Errors = Sequence[float]


@dataclass(frozen=True)
class Constant:
    """The optimiser's own learning rate throughout."""

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        return base


@dataclass(frozen=True)
class Passes:
    """One learning rate for each pass of the published schedule, stretched over the passes really made."""

    rates: tuple[float, ...]

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        return self.rates[min(step * len(self.rates) // max(steps, 1), len(self.rates) - 1)]


@dataclass(frozen=True)
class Drops:
    """Divided by `divisor` at each fraction of the run; `warm_up` is a fraction at a tenth of the rate."""

    at: tuple[float, ...]
    divisor: float = 10.0
    warm_up: float = 0.0

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        progress = step / max(steps, 1)
        if progress < self.warm_up:
            return base / 10
        return base / self.divisor ** sum(progress >= point for point in self.at)


@dataclass(frozen=True)
class StepDrops:
    """Divided by `divisor` after each of the steps `at` of a published run of `of` steps; a shorter run shrinks them.

    Args:
        warm_up: steps at a tenth of the rate, at the beginning.

    Example:
        >>> schedule = StepDrops(at=(32_000, 48_000), of=64_000)
        >>> [schedule.rate(0.1, step, 64_000) for step in (31_999, 32_000)]
        [0.1, 0.01]
    """

    at: tuple[int, ...]
    of: int
    divisor: float = 10.0
    warm_up: int = 0

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        published = step * self.of // max(steps, 1)
        if published < self.warm_up:
            return base / 10
        return base / self.divisor ** sum(published >= point for point in self.at)


@dataclass(frozen=True)
class Multistep:
    """Multiplied by a factor of its own after each of these steps of a published run of `of` steps.

    Darknet's policy "steps"; other runs go through it in proportion.

    Example:
        >>> [Multistep((2, 5), (10, 0.1), of=10).rate(1.0, step, 10) for step in (0, 2, 5)]
        [1.0, 10.0, 1.0]
    """

    at: tuple[int, ...]
    factors: tuple[float, ...]
    of: int

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        done = step * self.of // max(steps, 1)
        for point, factor in zip(self.at, self.factors, strict=True):
            base *= factor if done >= point else 1.0
        return base


@dataclass(frozen=True)
class Inverse:
    """Caffe's "inv": base (1 + gamma step)^-power, the steps counted on a run of `published_steps`."""

    gamma: float
    power: float
    published_steps: int

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        return base * (1 + self.gamma * self.published_steps * step / max(steps, 1)) ** -self.power


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over a fraction of the run, then half a cosine down to zero."""

    warm_up: float = 0.05

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        progress = (step + 1) / max(steps, 1)
        if progress < self.warm_up:
            return base * progress / self.warm_up
        return base * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up))) / 2


@dataclass(frozen=True)
class Polynomial:
    """Falls to zero as (1 - progress)^power; 1 is a straight line (Caffe's "poly")."""

    power: float = 1.0

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        return base * (1 - step / max(steps, 1)) ** self.power


@dataclass(frozen=True)
class Staircase:
    """Multiplied by `factor` after each `every` passes of a published run of `passes` ("4% every 8 epochs")."""

    factor: float
    every: float
    passes: float

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        # The small addition keeps a stair that begins at a whole step from being lost to rounding.
        return base * self.factor ** int(self.passes * step / max(steps, 1) / self.every + 1e-9)


@dataclass(frozen=True)
class Plateau:
    """Divided by `divisor` whenever `patience` passes in a row brought no new least error, at most `drops` times."""

    patience: int = 5
    divisor: float = 10.0
    drops: int = 3

    def rate(self, base: float, step: int, steps: int, errors: Errors = ()) -> float:
        return base / self.divisor ** min(self._plateaus(errors), self.drops)

    def _plateaus(self, errors: Errors) -> int:
        least, waited, found = math.inf, 0, 0
        for error in errors:
            waited = 0 if error < least else waited + 1
            least = min(least, error)
            if waited == self.patience:
                waited, found = 0, found + 1
        return found


Schedule = Constant | Passes | Drops | StepDrops | Multistep | Inverse | Cosine | Polynomial | Staircase | Plateau
