"""What stands ready before the first step: the optimiser with its groups, class weights and the number of threads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from convatlas.blocks.dims import CONVS
from convatlas.errors import UsageError
from convatlas.records import LearnsByItself
from convatlas.training import finetuning
from convatlas.training.losses import CrossEntropy
from convatlas.training.mechanisms import FilterNorm, ParameterGroup
from convatlas.training.optimizers import KrizhevskySGD, StochasticDiagonalLM, TensorFlowRMSProp
from convatlas.training.recipe import SGD, Adam, AdamW, DiagonalLM, OwnRule, Recipe, RMSProp

SMALL_STEP_MULTIPLY_ADDS = 8_000_000
NORMALISATION = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


@contextmanager
def few_threads(multiply_adds: int) -> Iterator[None]:
    """One CPU thread where the forward pass of a step is too small to share: the wait at the barrier is longer.

    On a busy machine that wait is not a few percent but a factor of ten.
    """
    threads = torch.get_num_threads()
    try:
        if multiply_adds < SMALL_STEP_MULTIPLY_ADDS:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def make_optimizer(recipe: Recipe, net: nn.Module) -> Optimizer | None:
    """The recipe's optimiser over the parameters of `net`; None where the network learns by a rule of its own.

    Each of its groups has an `lr_scale`, the factor before the schedule's rate.
    """
    if not isinstance(recipe.optimizer, OwnRule) and not any(p.requires_grad for p in net.parameters()):
        raise UsageError(f"recipe {recipe.variant} needs gradients; {recipe.network} learns by a rule of its own")
    if isinstance(recipe.optimizer, OwnRule | DiagonalLM) and recipe.groups:
        raise UsageError(f"groups have no place in {type(recipe.optimizer).__name__}: its step sizes are its own")
    if isinstance(recipe.optimizer, OwnRule):
        if not isinstance(net, LearnsByItself):
            raise UsageError(f"optimizer OwnRule needs a network with a rule of its own; {recipe.network} has none")
        return None
    rates = finetuning.rates(net, recipe.network, recipe.fine_tune) if recipe.fine_tune else ()
    groups: Any = parameter_groups(net, recipe.groups, rates)
    match recipe.optimizer:
        case DiagonalLM(mu=mu, patterns=patterns):
            if not isinstance(net, nn.Sequential):
                raise UsageError(f"optimizer DiagonalLM needs a chain of layers; {recipe.network} is none")
            return StochasticDiagonalLM(net, lr=recipe.schedule.rate(0.0, 0, 1), mu=mu, patterns=patterns)
        case AdamW(lr=lr, weight_decay=weight_decay):
            return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
        case Adam(lr=lr, weight_decay=weight_decay):
            return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay)
        case RMSProp(lr, decay, eps, momentum, weight_decay, "torch"):
            return torch.optim.RMSprop(groups, lr, decay, eps, weight_decay, momentum)
        case RMSProp(lr, decay, eps, momentum, weight_decay):
            return TensorFlowRMSProp(groups, lr=lr, decay=decay, eps=eps, momentum=momentum, weight_decay=weight_decay)
        case SGD(form="krizhevsky") as sgd:
            return KrizhevskySGD(groups, lr=sgd.lr, momentum=sgd.momentum, weight_decay=sgd.weight_decay)
        case SGD() as sgd:
            settings = {"momentum": sgd.momentum, "weight_decay": sgd.weight_decay, "nesterov": sgd.nesterov}
            plain = recipe.shard or recipe.precision == "fp16"  # fused, it takes steps that the scaler leaves out
            return torch.optim.SGD(groups, lr=sgd.lr, fused=not plain, **settings)


def set_batch_norm_momentum(net: nn.Module, momentum: float | None) -> None:
    """Sets the share of the new batch in all running statistics; None leaves the network's own."""
    for layer in net.modules():
        if momentum is not None and isinstance(layer, _BatchNorm):
            layer.momentum = momentum


@torch.no_grad()
def renormalise_filters(net: nn.Module, rule: FilterNorm) -> None:
    """Scales the filters of all convolutions down to the rule's root mean square where theirs is larger.

    Example:
        >>> conv = nn.Conv2d(1, 2, 1, bias=False)
        >>> _ = conv.weight.data.copy_(torch.tensor([0.4, 0.05]).view(2, 1, 1, 1))
        >>> renormalise_filters(conv, FilterNorm(0.1))
        >>> conv.weight.flatten().tolist()
        [0.10000000149011612, 0.05000000074505806]
    """
    for layer in net.modules():
        if isinstance(layer, CONVS):
            filters = layer.weight.flatten(1)
            rms = filters.square().mean(dim=1).sqrt()
            layer.weight.mul_((rule.rms / rms.clamp_min(rule.rms)).view(-1, *[1] * (layer.weight.dim() - 1)))


def parameter_groups(
    net: nn.Module, groups: Sequence[ParameterGroup], further: Sequence[ParameterGroup] = ()
) -> list[dict[str, Any]]:
    """What an optimiser takes: the parameters by the first of the groups that they fit, the others in one more.

    The `further` groups come after the others, which may have left nothing to some of them. Frozen parameters lose
    their gradient and are left out.

    Raises:
        UsageError: a group's pattern fits no parameter, or nothing is left to learn.
    """
    kinds = {  # "norm", or "weight", "bias" ...
        f"{prefix}.{name}" if prefix else name: "norm" if isinstance(layer, NORMALISATION) else name
        for prefix, layer in net.named_modules()
        for name, _ in layer.named_parameters(recurse=False)
    }
    every, found = (*groups, *further, ParameterGroup()), [[] for _ in range(len(groups) + len(further) + 1)]
    for name, parameter in net.named_parameters():
        fits = (i for i, g in enumerate(every) if fnmatchcase(name, g.match) and g.of in ("any", kinds[name]))
        found[next(fits)].append(parameter)
    for group, members in zip(groups, found, strict=False):
        if not members and group.match != "*":
            raise UsageError(f"groups: {group.match!r} fits no parameter; they are named like {next(iter(kinds))}")
        for parameter in members if group.frozen else ():
            parameter.requires_grad_(False)
    result = []
    for group, members in zip(every, found, strict=True):
        learning = [p for p in members if p.requires_grad]
        if learning:
            entry = {"params": learning, "lr_scale": group.lr_scale}
            result.append(entry if group.weight_decay is None else entry | {"weight_decay": group.weight_decay})
    if not result:
        raise UsageError("groups: every parameter is frozen, so there is nothing to learn")
    return result


def class_weights(recipe: Recipe, labels: Tensor, num_classes: int) -> Tensor | None:
    """(N,) labels -> (K,) factors of the samples' losses, whose mean over the samples is 1; None: all alike.

    Raises:
        UsageError: another number of weights than classes, or a loss that takes none.
    """
    if recipe.class_weights is None:
        return None
    if not isinstance(recipe.loss, CrossEntropy):
        raise UsageError(f"class_weights need the loss CrossEntropy; the recipe has {type(recipe.loss).__name__}")
    counts = torch.bincount(labels, minlength=num_classes).float()
    if recipe.class_weights == "balanced":
        weights = 1 / counts.clamp_min(1)
    elif isinstance(recipe.class_weights, str):
        raise UsageError(f"class_weights {recipe.class_weights} are counted over masks; expected balanced, or numbers")
    elif len(recipe.class_weights) == num_classes:
        weights = torch.tensor(recipe.class_weights)
    else:
        raise UsageError(f"class_weights has {len(recipe.class_weights)} entries; expected {num_classes}, one a class")
    if not (weights.isfinite().all() and (weights >= 0).all() and (weights * counts).sum() > 0):
        raise UsageError(f"class_weights are {recipe.class_weights}; expected finite numbers from 0, not all of them 0")
    return weights * counts.sum() / (weights * counts).sum()
