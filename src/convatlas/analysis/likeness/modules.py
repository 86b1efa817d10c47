"""Layers of a network that can't be run, or of which there are only weights: by their modules, or by their tensors.

Their order is that in which they were registered, so that they are laid side by side by what they are, and not level by
level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import nn

from convatlas.analysis.diff import settings
from convatlas.analysis.kinds import module_kind
from convatlas.analysis.likeness.alignment import IMPOSSIBLE, Alignment, Couple, couple_cost, single_cost
from convatlas.analysis.likeness.layers import ACTIVATIONS, ATTACHED, POOLS, WEIGHTED, Attached, Part
from convatlas.records import Shape

OFF_PLACE = 0.2  # the cost of a couple whose members stand at the two ends of their networks


def parts_of_modules(net: nn.Module) -> tuple[Part, ...]:
    """The layers of a network in the order of their registration, with what their modules say of themselves."""
    parts: list[Part] = []
    for name, module in net.named_modules():
        kind = module_kind(module) or ""
        kind = {"sparse_conv": "conv"}.get(kind, kind)
        if kind in ATTACHED - ACTIVATIONS and parts:  # one activation module may serve in many places
            one = Attached(kind, settings(module, kind), name)
            parts[-1] = replace(parts[-1], after=(*parts[-1].after, one))
        elif kind in WEIGHTED | POOLS:
            parts.append(_of_module(name, kind, module))
    return tuple(parts)


def _of_module(name: str, kind: str, module: nn.Module) -> Part:
    count = sum(parameter.numel() for parameter in module.parameters())
    if isinstance(module, nn.Linear):
        bias = module.bias is not None
        return Part(name, kind, fan_in=module.in_features, maps=module.out_features, bias=bias, parameters=count)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        padding = module.padding if isinstance(module.padding, tuple) else None
        return Part(
            name, kind, module.kernel_size, module.stride, padding, module.dilation, module.groups, module.in_channels,
            module.out_channels, module.bias is not None, parameters=count,
        )  # fmt: skip
    weight = next((tuple(parameter.shape) for parameter in module.parameters()), ())
    return Part(name, kind, weight[2:] or None, maps=weight[0] if weight else None, parameters=count)


def parts_of_tensors(tensors: Mapping[str, Shape]) -> tuple[Part, ...]:
    """The layers of a state dict: their windows, maps and biases; strides and whatever has no weights stay unknown."""
    parts: list[Part] = []
    for name, shape in tensors.items():
        layer, _, entry = name.rpartition(".")
        if len(shape) > 1 and entry in ("weight", "kernel", ""):
            bias = f"{layer}.bias" in tensors
            window, kind = (shape[2:], "conv") if len(shape) > 2 else (None, "fc")
            parts.append(Part(layer or name, kind, window, fan_in=shape[1], maps=shape[0], bias=bias))
        elif entry == "running_mean" and parts:
            parts[-1] = replace(parts[-1], after=(*parts[-1].after, Attached("batchnorm", name=layer)))
    return tuple(parts)


def only_weights(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Layers as a state dict would have them: without strides, poolings, activations and dropout."""
    return tuple(
        replace(
            part, stride=None, padding=None, dilation=None, groups=None,
            after=tuple(Attached(one.kind, name=one.name) for one in part.after if one.kind == "batchnorm"),
        )
        for part in parts if part.kind in WEIGHTED
    )  # fmt: skip


def align_by_likeness(before: Sequence[Part], after: Sequence[Part]) -> Alignment:
    """Couples layers with the least cost, wherever they stand; of equal ones those at like places."""
    rows, columns = len(before), len(after)
    costs = np.zeros((rows + columns, rows + columns))
    costs[:rows, columns:] = IMPOSSIBLE
    costs[rows:, :columns] = IMPOSSIBLE
    for i, old in enumerate(before):
        costs[i, columns + i] = single_cost(old)
        for j, new in enumerate(after):
            costs[i, j] = couple_cost(old, new) + OFF_PLACE * abs(i / rows - j / columns)
    for j, new in enumerate(after):
        costs[rows + j, j] = single_cost(new)
    chosen = [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(costs), strict=True)]
    couples: list[Couple] = []
    total = 0.0
    for i, j in chosen:
        old, new = before[i] if i < rows else None, after[j] if j < columns else None
        if old is not None or new is not None:
            couples.append((old, new))
            total += couple_cost(old, new) if old and new else single_cost(old or new or before[0])
    everything = sum(map(single_cost, (*before, *after)))
    return Alignment(tuple(couples), total / everything if everything else 0.0)
