"""The input sizes that a network takes: found by trying them, and named when an input does not fit.

Nothing is tabled. A copy of the network on `meta`, which has neither weights nor hooks, runs on inputs of one size
after another; that happens only when it is asked for, or when a forward pass has failed.
"""

import contextvars
import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from convatlas.records import Shape

FAILURES = (RuntimeError, ValueError, IndexError)  # what layers raise on an input that does not fit
LARGEST_STEP = 64

_trying = contextvars.ContextVar("_trying", default=False)  # a trial that fails is not to be explained


@dataclass(frozen=True)
class Sizes:
    """The lengths, in pixels, that an axis of the input may have."""

    smallest: int
    largest: int | None  # None: there is no limit
    step: int = 1  # lengths are `smallest` plus a multiple of it

    def __contains__(self, length: int) -> bool:
        fits = length >= self.smallest and (self.largest is None or length <= self.largest)
        return fits and (length - self.smallest) % self.step == 0

    def __str__(self) -> str:
        if self.smallest == self.largest:
            return f"{self.smallest} pixels"
        steps = "" if self.step == 1 else f" in steps of {self.step}"
        if self.largest is None:
            return f"at least {self.smallest} pixels{steps}"
        return f"{self.smallest} to {self.largest} pixels{steps}"


def find_sizes(net: nn.Module, input_shape: Shape, *, samples: int = 1) -> tuple[Sizes | None, ...]:
    """For each spatial axis the lengths that `net` takes, in the mode that it is in.

    Args:
        net: any network of one input; it is copied, not run.
        input_shape: (C, ...), of an input that fits.
        samples: the size of the batch; batch normalisation can't train on one value a map.

    Axes of equal length are varied together. The search takes lengths that fit for one stretch, with a step: lengths
    outside it that happen to fit stay unknown. None where even `input_shape` does not fit.
    """
    trial, shape = bare_copy(net), input_shape

    def fits(length: int, places: int) -> bool:
        sides = (length if side == places else side for side in shape[1:])
        return length > 0 and runs(trial, (samples, shape[0], *sides))

    if not runs(trial, (samples, *shape)):
        return (None,) * (len(shape) - 1)
    sizes = {side: _stretch(functools.partial(fits, places=side), side) for side in set(shape[1:])}
    return tuple(sizes[side] for side in shape[1:])


def is_trial() -> bool:
    """Whether `find_sizes` is trying an input: a trial that fails is not to be explained."""
    return _trying.get()


def explain(net: nn.Module, batch_shape: Shape, published: Shape) -> str | None:
    """A sentence that names the sizes, where an input of `batch_shape`, (B, C, ...), is of none of them; else None."""
    samples, channels, *sides = batch_shape
    if not sides:
        return None
    known = (channels, *(published[1:] if len(published) == len(batch_shape) - 1 else len(sides) * (published[1],)))
    sizes = find_sizes(net, known, samples=samples)
    if None in sizes or all(side in axis for side, axis in zip(sides, sizes, strict=True) if axis is not None):
        return None
    given, taken = " x ".join(map(str, sides)), " x ".join(map(str, dict.fromkeys(sizes)))
    return f"input is {given} pixels; {type(net).__name__} takes {taken} along each axis"


def bare_copy(net: nn.Module) -> nn.Module:
    """`net` on `meta` and without hooks; no weight is copied."""
    known: dict[int, Any] = {id(t): torch.empty_like(t, device="meta") for t in (*net.parameters(), *net.buffers())}
    for module in net.modules():
        known |= {id(value): type(value)() for name, value in vars(module).items() if name.endswith("_hooks")}
    return copy.deepcopy(net, known)


def runs(trial: nn.Module, shape: Shape) -> bool:
    """Whether a network on `meta` takes an input of that shape, (B, C, ...), in the mode that it is in."""
    dtype = next((p.dtype for p in trial.parameters() if p.is_floating_point()), torch.float32)
    token = _trying.set(True)
    try:
        with torch.no_grad():
            trial(torch.empty(shape, dtype=dtype, device="meta"))
    except FAILURES:
        return False
    finally:
        _trying.reset(token)
    return True


def _stretch(fits: Callable[[int], bool], known: int) -> Sizes:
    """The lengths around `known`, which fits."""
    step = 1
    while not (fits(known + step) or fits(known - step)):
        if step == LARGEST_STEP:
            return Sizes(known, known)
        step += 1
    fewer = _furthest(lambda count: fits(known - count * step), (known - 1) // step)
    more = _furthest(lambda count: fits(known + count * step), 4 * math.ceil(known / step))
    unlimited = more == 4 * math.ceil(known / step)
    return Sizes(known - fewer * step, None if unlimited else known + more * step, step)


def _furthest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest count up to `limit` that fits, where 0 does and all up to it do."""
    if fits(limit):
        return limit
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
