"""What a recipe may add to plain training, each a small value: a field of `Recipe` that a part of the loop acts on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convatlas.errors import UsageError


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with a learning rate or weight decay of their own; a parameter belongs to the first group it fits.

    Caffe's papers: `ParameterGroup(of="bias", lr_scale=2, weight_decay=0)`.
    """

    match: str = "*"  # of the parameter's name, as in a shell: "fc8.*", "conv[123].weight"
    of: Literal["any", "bias", "norm"] = "any"  # "norm": weights and biases of normalisation layers
    lr_scale: float = 1.0
    weight_decay: float | None = None  # None: the optimiser's
    frozen: bool = False  # no gradient, no step


@dataclass(frozen=True)
class StatedSteps:
    """A length that the source states in steps, whatever the number of samples.

    It holds while the recipe's `epochs` are `in_epochs`: whoever sets other epochs gets these.
    """

    count: int
    in_epochs: int  # that the steps take on the source's data, the last one perhaps in part

    def __post_init__(self) -> None:
        check_range("count", self.count, least=1)
        check_range("in_epochs", self.in_epochs, least=1)


@dataclass(frozen=True)
class After:
    """The stage that is trained before, and what this one takes from it (`training.stages`)."""

    variant: str  # of the same network
    weights: bool = True  # starts from its weights; else from those that the run was given
    proposals: bool = False  # its proposal network makes the regions
    anew: tuple[str, ...] = ()  # layers that are drawn anew instead


@dataclass(frozen=True)
class Ema:
    """The result is an exponential moving average of the weights: a = d a + (1 - d) w after each step.

    d = min(decay, (1 + n) / (10 + n)) at the n-th step, as TensorFlow's averages do; else a short run would end
    near its initial weights. Running statistics of normalisation layers are averaged alike.
    """

    decay: float = 0.9999

    def __post_init__(self) -> None:
        check_range("decay", self.decay, least=0, most=1)


@dataclass(frozen=True)
class Polyak:
    """The result is the plain mean of the weights after each step, from the fraction `start` of the run on.

    Polyak and Juditsky 1992. Before `start` it is the weights as they are. Running statistics are averaged alike.
    """

    start: float = 0.75

    def __post_init__(self) -> None:
        check_range("start", self.start, least=0, most=1)


@dataclass(frozen=True)
class ClipNorm:
    """The whole gradient is scaled down to this Euclidean norm where it is longer."""

    norm: float

    def __post_init__(self) -> None:
        check_range("norm", self.norm, above=0)


@dataclass(frozen=True)
class ClipValue:
    """Each entry of the gradient is cut to [-value, value]."""

    value: float

    def __post_init__(self) -> None:
        check_range("value", self.value, above=0)


@dataclass(frozen=True)
class FilterNorm:
    """After each step every filter of a convolution whose root mean square exceeds `rms` is scaled back to it.

    Zeiler and Fergus 2013, section 3, with a radius of 0.1, so that no few filters of the first layer dominate.
    """

    rms: float = 0.1

    def __post_init__(self) -> None:
        check_range("rms", self.rms, above=0)


@dataclass(frozen=True)
class EarlyStopping:
    """Ends after `patience` epochs in a row without an error at least `least_gain` below the best one.

    The error is that of the validation split, or of the test split where there is none.
    """

    patience: int = 10
    least_gain: float = 0.0  # a fraction, as the error is

    def __post_init__(self) -> None:
        check_range("patience", self.patience, least=1)
        check_range("least_gain", self.least_gain, least=0)

    def reached(self, errors: Sequence[float]) -> bool:
        best, waited = float("inf"), 0
        for error in errors:
            better = error < best - self.least_gain or best == float("inf")
            best, waited = (error, 0) if better else (best, waited + 1)
        return waited >= self.patience


def check_rates(lr: float, weight_decay: float) -> None:
    """Raises UsageError for an optimizer that would unlearn, or learn nothing."""
    check_range("lr", lr, above=0)
    check_range("weight_decay", weight_decay, least=0)


def check_range(
    name: str, value: float, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> None:
    """Raises UsageError where the value of a recipe's field is outside its range, or not finite."""
    if not math.isfinite(value):
        raise UsageError(f"{name} is {value}; expected a finite number")
    if above is not None and not value > above:
        raise UsageError(f"{name} is {value}; expected more than {above:g}")
    if least is not None and not value >= least:
        raise UsageError(f"{name} is {value}; expected at least {least:g}")
    if most is not None and not value <= most:
        raise UsageError(f"{name} is {value}; expected at most {most:g}")
