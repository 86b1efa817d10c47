"""The effective receptive field: how strongly each pixel moves a unit, which falls off like a Gaussian.

Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", NIPS
2016. The gradient of one unit with respect to the input, its root mean square over random inputs, channels and signs of
the layer's maps.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.analysis.trace import trace_of
from convatlas.errors import UsageError
from convatlas.records import Shape

FAINT = 1 - 0.9545  # of the strongest pixel; the paper counts what lies above it


@dataclass(frozen=True)
class EffectiveField:
    """What moves one unit, pixel by pixel."""

    strength: NDArray[np.float64]  # (H, W), 1 at the strongest pixel
    sigma: tuple[float, ...]  # pixels, of a Gaussian with the same variance along each axis
    size: float  # side of a square with as many pixels as are not faint


def effective_field(
    net: nn.Module, input_shape: Shape, index: int, unit: Sequence[int], *, draws: int = 16, seed: int = 0
) -> EffectiveField:
    """Of the unit at (y, x) of the record with this index in the network's trace.

    Args:
        net: on the CPU; it is copied, and runs in evaluation mode with the weights that it has.
        input_shape: (C, H, W).
        index: of a record of the network's trace; an output without axes is one unit.
        unit: its position along each axis.
        draws: random inputs, normally distributed.
        seed: of the inputs and of the signs.

    Raises:
        UsageError: no gradient reaches the input.
    """
    net = copy.deepcopy(net).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(input_shape[1:], dtype=torch.float64)
    for _ in range(draws):
        image = torch.randn(1, *input_shape, generator=generator).requires_grad_()
        found: list[Tensor] = []
        trace_of(
            net,
            image,
            gradients=True,
            see=lambda i, output, found=found: found.append(output) if i == index else None,
        )
        output = found[0]
        if not output.requires_grad:
            raise UsageError(f"layer has the index {index}; expected one through which a gradient reaches the input")
        values = output[(0, slice(None), *unit)] if output.dim() == len(input_shape) + 1 else output.flatten()
        signs = torch.randint(0, 2, values.shape, generator=generator) * 2 - 1
        (gradient,) = torch.autograd.grad((values * signs).sum(), image)
        total += gradient[0].double().square().sum(dim=0)
    power = total.numpy()
    if not power.any():
        raise UsageError(f"unit is {tuple(unit)}; expected one that moves with the input")
    return EffectiveField(
        strength=np.sqrt(power / power.max()),
        sigma=tuple(_sigma(power, axis) for axis in range(power.ndim)),
        size=float((power > FAINT**2 * power.max()).sum()) ** (1 / power.ndim),
    )


def _sigma(power: NDArray[np.float64], axis: int) -> float:
    """Of the strength; its square, the power, falls off with a variance half as large."""
    profile = power.sum(axis=tuple(other for other in range(power.ndim) if other != axis))
    profile = profile / profile.sum()
    places = np.arange(len(profile))
    variance = float((profile * (places - (profile * places).sum()) ** 2).sum())
    return math.sqrt(2 * variance)
