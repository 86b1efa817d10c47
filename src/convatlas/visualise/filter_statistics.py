"""Filter statistics: the frequencies of the first layer, what its stride folds over, and which filters are dead.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, section 4.1: in AlexNet
they saw first filters of very high and very low frequencies with little between, dead ones, and aliasing by the stride
of 4, and took smaller filters and a stride of 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.visualise import backward
from convatlas.visualise.filters import aliased_shares
from convatlas.visualise.style import INK, PALE, TEST, TRAIN, house_style

Array = NDArray[np.float32]
SIDE = 64  # bins of the spectrum along each axis; larger filters get as many as they have pixels
BIN = 1 / 32  # width of a ring in cycles a pixel
NEAR_ZERO = 0.01  # of the layer's median norm: below it a filter's weights count as nothing


@dataclass(frozen=True)
class Spectrum:
    """Where the energy of N filters lies; each filter's energies add up to 1, a filter of zeros has none."""

    energy: Array  # (S, S) mean over the filters, zero frequency at [S // 2, S // 2], one cycle a pixel wide
    radii: Array  # (R,) middle of each ring, in cycles a pixel
    radial: Array  # (N, R) share of each filter's energy in each ring
    aliased: Array  # (N,) share that the stride folds over
    stride: tuple[int, int]


@dataclass(frozen=True)
class Dead:
    """Units of one layer that do nothing."""

    layer: str
    units: int
    dead: tuple[int, ...]


def spectrum(filters: Array, stride: tuple[int, int]) -> Spectrum:
    """Of filters (N, C, h, w); the channels' energies are added."""
    side = max(SIDE, *filters.shape[2:])
    energy = (np.abs(np.fft.fft2(filters, (side, side))) ** 2).sum(axis=1)  # (N, S, S)
    total = energy.sum(axis=(1, 2), keepdims=True)
    energy = np.divide(energy, total, out=np.zeros_like(energy), where=total > 0)
    frequencies = np.fft.fftfreq(side)
    rings = (np.hypot(frequencies[:, None], frequencies[None]) / BIN).astype(int)  # (S, S)
    radial = np.stack([np.bincount(rings.ravel(), weights=one.ravel()) for one in energy])
    radii = (np.arange(radial.shape[1]) + 0.5) * BIN
    return Spectrum(
        np.fft.fftshift(energy.mean(axis=0)).astype(np.float32), radii.astype(np.float32), radial.astype(np.float32),
        aliased_shares(filters, stride), stride,
    )  # fmt: skip


def near_zero(net: nn.Module) -> list[Dead]:
    """For each convolution and fully connected layer, the filters whose norm is below 1% of the layer's median."""
    found = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            norms = module.weight.detach().float().flatten(1).norm(dim=1)
            small = (norms <= NEAR_ZERO * norms.quantile(0.5)).nonzero()[:, 0]
            found.append(Dead(name, len(norms), tuple(small.tolist())))
    return found


def never_positive(net: nn.Module, batches: Iterable[Tensor]) -> list[Dead]:
    """For each rectifier in the order of the forward pass, the maps or units that no image x (B, C, H, W) excites."""
    alive: dict[str, Tensor] = {}

    def watch(name: str, _: nn.Module, __: object, output: Tensor) -> None:
        positive = (output > 0).transpose(0, 1).flatten(1).any(dim=1)
        alive[name] = positive | alive[name] if name in alive else positive

    handles = [
        module.register_forward_hook(partial(watch, name))
        for name, module in net.named_modules() if isinstance(module, nn.ReLU | nn.ReLU6)
    ]  # fmt: skip
    try:
        with backward.evaluating(net), torch.inference_mode():
            for x in batches:
                net(x)
    finally:
        for handle in handles:
            handle.remove()
    return [Dead(name, len(units), tuple((~units).nonzero()[:, 0].tolist())) for name, units in alive.items()]


def figure(found: Spectrum, silent: list[Dead]) -> Figure:
    """The mean spectrum with what the stride keeps apart, the energy by frequency, the silent share by rectifier."""
    with house_style():
        sheet = Figure(figsize=(9.6, 3.0), layout="constrained")
        axes = sheet.subplots(1, 3 if silent else 2, width_ratios=[1, 1.25, 1.6][: 3 if silent else 2])
        decibels = 10 * np.log10(np.maximum(found.energy / (found.energy.max() or 1), 1e-4))
        image = axes[0].imshow(decibels, cmap="viridis", extent=(-0.5, 0.5, 0.5, -0.5), interpolation="none")
        sheet.colorbar(image, ax=axes[0], shrink=0.75, label="dB").outline.set_visible(False)
        down, right = (1 / step for step in found.stride)
        axes[0].add_patch(Rectangle((-right / 2, -down / 2), right, down, fill=False, edgecolor="white", lw=1.2))
        axes[0].set_title("mean spectrum", fontsize=9)
        axes[0].set_xlabel("cycles a pixel", fontsize=8)
        axes[1].plot(found.radii, found.radial.T, color=PALE, lw=0.5)
        axes[1].plot(found.radii, found.radial.mean(axis=0), color=TRAIN)
        if max(found.stride) > 1:
            kept = 1 / (2 * max(found.stride))
            axes[1].axvline(kept, color=TEST, lw=1, linestyle="--")
            axes[1].annotate(
                f"stride {max(found.stride)}", (kept, 0.97), xycoords=("data", "axes fraction"), xytext=(3, 0),
                textcoords="offset points", fontsize=7, color=TEST, va="top",
            )  # fmt: skip
        axes[1].set(ylim=(0, None), xlim=(0, found.radii[-1]))
        axes[1].set_title("share of energy by frequency", fontsize=9)
        axes[1].set_xlabel("cycles a pixel", fontsize=8)
        if silent:
            step = -(-len(silent) // 24)
            axes[2].bar(range(len(silent)), [100 * len(one.dead) / one.units for one in silent], color=TRAIN)
            axes[2].set_xticks(
                range(0, len(silent), step), [one.layer for one in silent[::step]], rotation=60, ha="right", fontsize=7
            )
            axes[2].set(xlim=(-0.6, max(len(silent), 6) - 0.4), ylim=(0, max(5.0, axes[2].get_ylim()[1])))
            axes[2].set_title("units that no image excites, %", fontsize=9, color=INK)
    return sheet
