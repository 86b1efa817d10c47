"""Finds out what each unit sees by trying: something is put into the input, and whatever changes has seen it.

What is put in is not-a-number, which no weight, sum, rectification or maximum can hide: 0 times NaN is NaN. Beside it
counts what changes its value, which is how unpooling answers when a switch moves. Arithmetic is in float64, so that
torch takes its plain kernels: the fast ones mix neighbouring positions before they weigh them.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.analysis.trace import trace_of
from convatlas.records import LayerRecord, Shape

CHANGED = 1e-9  # of the largest value of the layer


@dataclass
class Probed:
    """What was seen at each record of the trace: one row per probe, then the positions of the record's output.

    An output without a position for each axis of the input (a vector, say) counts as one position.
    """

    records: tuple[LayerRecord, ...] = ()
    changed: list[NDArray[np.bool_]] = field(default_factory=list)


def probe(
    net: nn.Module, input_shape: Shape, masks: Tensor, *, draws: int = 1, batch: int = 16, seed: int = 0
) -> Probed:
    """Runs the net once without and once with each mask.

    Args:
        net: on the CPU; it is copied, and runs in evaluation mode.
        input_shape: (C, H, W), or with one or three spatial axes.
        masks: (N, H, W) bool, where NaN is put into all channels.
        draws: random inputs to try, for networks in which values can hide (switches, say).
        batch: masks that run together.
        seed: of the random inputs.

    Raises:
        UsageError: the net can't take an input of this shape.
    """
    net = copy.deepcopy(net).double()
    generator = torch.Generator().manual_seed(seed)
    found = Probed()
    for _ in range(draws):
        plain = torch.randn(1, *input_shape, generator=generator, dtype=torch.float64)
        for start in range(0, len(masks), batch):
            some = masks[start : start + batch]
            spoiled = plain.expand(len(some), *input_shape).masked_fill(some.unsqueeze(1), float("nan"))
            _compare(net, torch.cat((plain, spoiled)), found, slice(start, start + len(some)), len(masks))
    return found


def _compare(net: nn.Module, samples: Tensor, found: Probed, rows: slice, count: int) -> None:
    axes = samples.dim() - 2

    def see(index: int, output: Tensor) -> None:
        if index == len(found.changed):
            extents = tuple(output.shape[2:]) if output.dim() == axes + 2 else (1,) * axes
            found.changed.append(np.zeros((count, *extents), dtype=bool))
        values = output.numpy()  # what torch would do here would be traced too
        plain, spoiled = values[:1], values[1:]
        changed = np.isnan(spoiled) | (np.abs(spoiled - plain) > CHANGED * np.abs(plain).max(initial=0))
        rest = 1 if values.ndim == axes + 2 else tuple(range(1, values.ndim))
        target = found.changed[index][rows]
        target |= changed.any(axis=rest).reshape(target.shape)

    found.records = trace_of(net, samples, see=see)


def lines(input_shape: Shape, axis: int, positions: Sequence[int] | None = None) -> Tensor:
    """Masks of whole lines across an axis, (N, H, W): a row each for axis 0, a column each for axis 1."""
    extents = input_shape[1:]
    positions = range(extents[axis]) if positions is None else positions
    masks = torch.zeros(len(positions), *extents, dtype=torch.bool)
    for mask, position in zip(masks, positions, strict=True):
        mask.select(axis, position).fill_(True)
    return masks


def pixels(input_shape: Shape) -> Tensor:
    """Masks of one pixel each, (H W, H, W), row by row."""
    count = int(np.prod(input_shape[1:]))
    return torch.eye(count, dtype=torch.bool).reshape(count, *input_shape[1:])


def seen_along(probed: Probed, axis: int) -> Iterator[NDArray[np.bool_]]:
    """Of each record, (positions, probes): which lines across this axis each position along it has seen."""
    for changed in probed.changed:
        others = tuple(dim + 1 for dim in range(changed.ndim - 1) if dim != axis)
        yield np.logical_or.reduce(changed, axis=others).T
