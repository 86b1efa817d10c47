"""What one step does to each kind of parameter, and how the rate runs: asked of the live optimiser and schedule."""

import copy
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from convatlas.training.optimizers import StochasticDiagonalLM, TensorFlowRMSProp
from convatlas.training.prepare import NORMALISATION
from convatlas.training.recipe import Recipe
from convatlas.training.schedules import Plateau

MANY = 64  # changes of the rate from which on it counts as continuous
_GRID = 256
_NAMES_SHOWN = 8


@dataclass(frozen=True)
class Change:
    """The schedule's rate from a step on, before any group's multiplier."""

    step: int
    rate: float


@dataclass(frozen=True)
class GroupEffect:
    """What reaches the parameters of one kind in one group of the optimiser."""

    kind: str  # weights, biases, norm
    names: tuple[str, ...]
    parameters: int  # values in all
    learning_rate: float  # at the first step, multiplier included
    multiplier: float
    momentum: float | None  # None: the rule has none
    weight_decay: float
    decay_a_step: tuple[float, ...]  # fraction of a weight that a step takes away: at first, and after each change
    decay_form: str

    @property
    def label(self) -> str:
        """ "weights", or with a few names where the group is a small one."""
        if len(self.names) > _NAMES_SHOWN:
            return f"{self.kind} ({self.names[0]}, and {len(self.names) - 1} more)"
        return f"{self.kind} ({', '.join(self.names)})"


def stand_in(net: nn.Module) -> None:
    """Gives a network on the meta device parameters that an optimiser accepts and that take no memory."""
    replaced: dict[int, nn.Parameter] = {}
    for module in net.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in replaced:
                value = torch.zeros(()).expand(parameter.shape)
                replaced[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
            module.register_parameter(name, replaced[id(parameter)])


def changes_of(recipe: Recipe, steps: int) -> tuple[tuple[Change, ...], bool]:
    """(the schedule's rates from step to step, whether they change all the time).

    A rate that waits for the error is asked as if it never improved: its steps are those of one epoch each.
    """
    base = recipe_rate(recipe)
    rate = recipe.schedule.rate
    if isinstance(recipe.schedule, Plateau):
        return (Change(0, rate(base, 0, steps)),), False
    grid = sorted({round(i * (steps - 1) / _GRID) for i in range(_GRID + 1)})
    values = [rate(base, step, steps) for step in grid]
    if len(set(values)) > MANY:
        chosen = [grid[round(i * (len(grid) - 1) / 4)] for i in range(5)]
        return tuple(Change(step, rate(base, step, steps)) for step in dict.fromkeys(chosen)), True
    found = [Change(0, values[0])]
    for (low, before), (high, after) in zip(
        zip(grid, values, strict=True), list(zip(grid, values, strict=True))[1:], strict=False
    ):
        found += _between(recipe, steps, Change(low, before), Change(high, after))
    return tuple(found), len(found) > MANY


def _between(recipe: Recipe, steps: int, low: Change, high: Change) -> list[Change]:
    """The changes after one step up to another, by halving; equal rates at both ends mean none between."""
    if low.rate == high.rate:
        return []
    if high.step - low.step == 1:
        return [high]
    middle = (low.step + high.step) // 2
    centre = Change(middle, recipe.schedule.rate(recipe_rate(recipe), middle, steps))
    return _between(recipe, steps, low, centre) + _between(recipe, steps, centre, high)


def plateau_rates(recipe: Recipe) -> tuple[float, ...]:
    """The rates after each wait in vain, of a schedule that waits for the error; empty for the others."""
    if not isinstance(recipe.schedule, Plateau):
        return ()
    base, patience = recipe_rate(recipe), recipe.schedule.patience
    rates = [recipe.schedule.rate(base, 0, 1, [1.0] * errors) for errors in range(1, 20 * patience)]
    return tuple(dict.fromkeys(rates))[1:]


def recipe_rate(recipe: Recipe) -> float:
    """The optimiser's own learning rate; 0 where the rates are the schedule's or there are none."""
    return getattr(recipe.optimizer, "lr", 0.0)


def groups_of(net: nn.Module, optimizer: Optimizer | None, rates: Sequence[float]) -> tuple[GroupEffect, ...]:
    """What each group of the live optimiser does to each kind of parameter; empty where there is no optimiser.

    Args:
        rates: the schedule's, first that of the first step.
    """
    if optimizer is None:
        return ()
    kinds = {
        parameter: (f"{prefix}.{name}" if prefix else name, kind_of(layer, name))
        for prefix, layer in net.named_modules()
        for name, parameter in layer.named_parameters(recurse=False)
    }
    effects = []
    for group in optimizer.param_groups:
        members: defaultdict[str, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            members[kinds[parameter][1]].append(parameter)
        multiplier = float(group.get("lr_scale", 1.0))
        reaching = [rate * multiplier for rate in rates]
        decays = tuple(decay_of(optimizer, group, rate) for rate in reaching)
        momentum = group.get("momentum", group["betas"][0] if "betas" in group else None)
        for kind, parameters in members.items():
            names = tuple(kinds[parameter][0] for parameter in parameters)
            count = sum(parameter.numel() for parameter in parameters)
            decay = float(group.get("weight_decay", 0.0))
            effects.append(
                GroupEffect(
                    kind, names, count, reaching[0], multiplier, momentum, decay, decays, form_of(optimizer, decay)
                )
            )
    return tuple(effects)


def kind_of(layer: nn.Module, name: str) -> str:
    """Whether a parameter is a weight, a bias or of a normalisation layer."""
    if isinstance(layer, NORMALISATION):
        return "norm"
    return "biases" if name == "bias" or name.endswith("_bias") else "weights"


def normalises(optimizer: Optimizer) -> bool:
    """Whether the decay goes through a gradient that is then divided by its size."""
    if isinstance(optimizer, torch.optim.AdamW):  # in torch it is an Adam too
        return False
    return isinstance(optimizer, torch.optim.Adam | torch.optim.RMSprop | TensorFlowRMSProp)


def form_of(optimizer: Optimizer, decay: float) -> str:
    if not decay:
        return "none"
    if normalises(optimizer):
        return "added to the gradient, which is then normalised: learning rate x decay"
    if isinstance(optimizer, torch.optim.AdamW):
        return "decoupled, measured"
    return "of the update rule, measured"


def decay_of(optimizer: Optimizer, group: dict[str, object], rate: float) -> float:
    """The fraction of a weight that one step with a gradient of zero takes away, without momentum.

    It is measured: the optimiser takes a step on one weight of 1, in the group's settings. Where the gradient is
    normalised the step would tell nothing of the decay, and the product of rate and decay is given.
    """
    decay = group.get("weight_decay", 0.0)
    if not isinstance(decay, int | float) or not decay or isinstance(optimizer, StochasticDiagonalLM):
        return 0.0
    if normalises(optimizer):
        return rate * decay
    weight = nn.Parameter(torch.ones((), dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    probe = copy.copy(optimizer)
    settings = {**group, "params": [weight], "lr": rate}
    plain = {"momentum": 0.0, "nesterov": False, "fused": None, "foreach": None}
    probe.param_groups = [settings | {name: value for name, value in plain.items() if name in settings}]
    probe.state = defaultdict(dict)
    probe.step()
    taken = 1 - float(weight.detach())
    return 0.0 if taken == 0 else float(f"{taken:.9g}") if math.isfinite(taken) else taken
