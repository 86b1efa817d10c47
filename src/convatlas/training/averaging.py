"""Averaged weights: kept beside those that learn, tested in their place, and the result of the run.

`torch.optim.swa_utils.AveragedModel` does the same with a second network; it asks the device for its counter at each
step, and has no place for a network that is spread over processes.
"""

# The _foreach functions are what torch's own averages are made of; there is no public name for them.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convatlas.training.mechanisms import Ema, Polyak


class Average:
    """The mean of a network's weights and running statistics over the steps.

    Args:
        rule: how the steps are weighted.
        steps: of the whole run.
    """

    def __init__(self, net: nn.Module, rule: Ema | Polyak, *, steps: int) -> None:
        self._rule = rule
        self._first_step = round(rule.start * steps) if isinstance(rule, Polyak) else 0
        self._tensors = {name: t for name, t in net.state_dict(keep_vars=True).items() if t.is_floating_point()}
        self._kept = {name: t.detach().clone() for name, t in self._tensors.items()}
        self.count = 0  # steps that are in the mean

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After a step, counted from 0 over the run."""
        if step < self._first_step:
            return
        share = 1 / (self.count + 1)
        if isinstance(self._rule, Ema):
            share = 1 - min(self._rule.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_([*self._kept.values()], [*self._live().values()], share)
        self.count += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights as long as the body runs; until there is a mean, its own."""
        if self.count == 0:
            yield
            return
        live = self._live()
        own = {name: t.clone() for name, t in live.items()}
        torch._foreach_copy_([*live.values()], [*self._kept.values()])
        try:
            yield
        finally:
            torch._foreach_copy_([*live.values()], [*own.values()])

    def state(self) -> dict[str, Tensor]:
        return self._kept

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor], count: int) -> None:
        for name, kept in self._kept.items():
            kept.copy_(state[name])
        self.count = count

    def _live(self) -> dict[str, Tensor]:
        return {name: t.detach() for name, t in self._tensors.items()}
