"""Learning rates as functions of progress: `rate(base, step, steps)`, step in [0, steps).

They depend on progress alone, so that a shortened run goes through the whole published schedule.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The optimiser's own learning rate throughout."""

    def rate(self, base: float, step: int, steps: int) -> float:
        return base


@dataclass(frozen=True)
class Passes:
    """One learning rate for each pass of the published schedule, stretched over the passes really made."""

    rates: tuple[float, ...]

    def rate(self, base: float, step: int, steps: int) -> float:
        return self.rates[min(step * len(self.rates) // max(steps, 1), len(self.rates) - 1)]


@dataclass(frozen=True)
class Drops:
    """Divided by `divisor` at each fraction of the run; `warm_up` is a fraction at a tenth of the rate."""

    at: tuple[float, ...]
    divisor: float = 10.0
    warm_up: float = 0.0

    def rate(self, base: float, step: int, steps: int) -> float:
        progress = step / max(steps, 1)
        if progress < self.warm_up:
            return base / 10
        return base / self.divisor ** sum(progress >= point for point in self.at)


@dataclass(frozen=True)
class Inverse:
    """Caffe's "inv": base (1 + gamma step)^-power, the steps counted on a run of `published_steps`."""

    gamma: float
    power: float
    published_steps: int

    def rate(self, base: float, step: int, steps: int) -> float:
        return base * (1 + self.gamma * self.published_steps * step / max(steps, 1)) ** -self.power


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over a fraction of the run, then half a cosine down to zero."""

    warm_up: float = 0.05

    def rate(self, base: float, step: int, steps: int) -> float:
        progress = (step + 1) / max(steps, 1)
        if progress < self.warm_up:
            return base * progress / self.warm_up
        return base * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up))) / 2
