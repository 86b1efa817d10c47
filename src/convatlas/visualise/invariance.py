"""How far a network's features move when the image moves: the invariance curves, and equivariance to shifts.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, section 4.1, figure 5:
vertical translation, scale and rotation; Euclidean distance between the features of the moved and the original image,
at a low and a high layer; the probability of the true class.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.errors import UsageError
from convatlas.visualise import backward
from convatlas.visualise.style import PALE, TEST, TRAIN, house_style

Array = NDArray[np.float32]
# kind of motion -> (unit, amounts); the paper's range for images of 224 pixels
MOTIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "translation": ("of the height, downwards", tuple(step / 100 for step in range(-24, 25, 4))),
    "scale": ("times the size", tuple(1 + step / 10 for step in range(0, 9))),
    "rotation": ("degrees", tuple(float(angle) for angle in range(0, 351, 15))),
}


@dataclass(frozen=True)
class Curves:
    """One kind of motion by A amounts, for N images."""

    motion: str
    amounts: tuple[float, ...]
    distances: dict[str, Array]  # layer -> (N, A) Euclidean distance, in units of the original's own norm
    probabilities: Array  # (N, A) of each image's class


@dataclass(frozen=True)
class Equivariance:
    """What shifts of the image do to one layer's maps; means over N images, for each shift in pixels."""

    layer: str
    shifts: tuple[int, ...]
    moved: Array  # (N, S) change of the maps where they stand, in units of their norm: 0 is invariant
    followed: Array  # (N, S) what is left of the change when the maps are shifted along: 0 is equivariant
    averaged: Array  # (N, S) change of the maps' means over all places, in units of its norm: 0 is invariant


def move(x: Tensor, motion: str, amount: float) -> Tensor:
    """The images (B, C, H, W) moved around their centre, bilinear; what comes in from outside is 0.

    Translation by a fraction of the height (positive is down), scale by a factor, rotation by degrees
    (counter-clockwise).

    Raises:
        UsageError: another motion.
    """
    if motion not in MOTIONS:
        raise UsageError(f"motion is {motion!r}; expected {', '.join(MOTIONS)}")
    height, width = x.shape[2:]
    angle = math.radians(amount) if motion == "rotation" else 0.0
    scale = amount if motion == "scale" else 1.0
    down = 2 * amount if motion == "translation" else 0.0
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # where each output pixel comes from, in coordinates from -1 to 1 of an image that need not be square
    matrix = torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, -down]], dtype=x.dtype)
    grid = F.affine_grid(matrix.to(x.device).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def features(net: nn.Module, x: Tensor, layers: Sequence[str]) -> tuple[dict[str, Tensor], Tensor]:
    """(layer -> its output, logits) in evaluation mode, without gradient. Raises UsageError for an unknown layer."""
    kept: dict[str, list[object]] = {layer: [] for layer in layers}
    handles = []
    try:
        for layer in layers:
            module = backward.find_layer(net, layer)
            handles.append(module.register_forward_hook(lambda _, __, out, to=kept[layer]: to.append(out)))
        with backward.evaluating(net), torch.no_grad():
            logits = net(x)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: backward.checked(outputs, layer) for layer, outputs in kept.items()}, logits


def curves(
    net: nn.Module,
    x: Tensor,
    targets: Sequence[int],
    layers: Sequence[str],
    *,
    motion: str,
    amounts: Sequence[float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Curves:
    """Figure 5 for one kind of motion and images x (N, C, H, W), whose classes are `targets`."""
    amounts = tuple(MOTIONS[motion][1] if amounts is None else amounts)
    before, _ = features(net, x, layers)
    rows = torch.arange(len(x))
    distances: dict[str, list[Array]] = {layer: [] for layer in layers}
    probabilities = []
    for done, amount in enumerate(amounts, start=1):
        after, logits = features(net, move(x, motion, amount), layers)
        for layer in layers:
            distances[layer].append(relative(after[layer] - before[layer], before[layer]))
        probabilities.append(logits.softmax(dim=1)[rows, list(targets)].cpu().numpy())
        if on_progress is not None:
            on_progress(done, len(amounts))
    stacked = {layer: np.stack(values, axis=1) for layer, values in distances.items()}
    return Curves(motion, amounts, stacked, np.stack(probabilities, axis=1))


def equivariance(
    net: nn.Module, x: Tensor, layers: Sequence[str], *, shifts: Sequence[int] = (1, 2, 4, 8, 16)
) -> list[Equivariance]:
    """What vertical shifts by whole pixels do to each layer's maps.

    The image (N, C, H, W) is continued by its mirror image, and a window of its size goes down. A map whose units
    stand j pixels apart is shifted by shift / j units where that is whole, else to the nearest; the rows near both
    edges, which the padding reaches, are left out.
    """
    height = x.shape[2]
    if max(shifts) >= height:
        raise UsageError(f"shifts reach {max(shifts)} pixels; expected less than the image's {height}")
    tall = F.pad(x, (0, 0, 0, max(shifts)), mode="reflect")
    before, _ = features(net, x, layers)
    found: dict[str, list[tuple[Array, Array, Array]]] = {layer: [] for layer in layers}
    for shift in shifts:
        after, _ = features(net, tall[:, :, shift : shift + height], layers)
        for layer in layers:
            here, there = before[layer], after[layer]
            if here.dim() != 4:
                raise UsageError(f"layer {layer!r} gives a vector, which has no places; expected a layer with maps")
            units = round(shift * here.shape[2] / height)
            edge = min(here.shape[2] // 8, (here.shape[2] - units - 1) // 2)
            rows = slice(edge, here.shape[2] - units - edge)
            along = here[:, :, units:][:, :, rows]
            left = relative(there[:, :, rows] - along, along)
            means = here.mean(dim=(2, 3))
            found[layer].append((
                relative(there - here, here), left, relative(there.mean(dim=(2, 3)) - means, means)
            ))  # fmt: skip
    return [
        Equivariance(layer, tuple(shifts), *(np.stack(values, axis=1) for values in zip(*found[layer], strict=True)))
        for layer in layers
    ]


def relative(change: Tensor, original: Tensor) -> Array:
    """Euclidean size of the change in units of the original's, for each sample: (N,)"""
    sizes = [value.flatten(1).norm(dim=1) for value in (change, original)]
    return (sizes[0] / sizes[1].clamp(min=1e-12)).float().cpu().numpy()


def figure(found: Sequence[Curves]) -> Figure:
    """A row a motion: distance at each layer, then the probability; thin lines are images, the band one deviation."""
    layers = list(found[0].distances)
    with house_style():
        sheet = Figure(figsize=(3.1 * (len(layers) + 1), 2.3 * len(found)), layout="constrained")
        axes = sheet.subplots(len(found), len(layers) + 1, squeeze=False)
        for row, one in zip(axes, found, strict=True):
            series = [(f"distance at {layer}", one.distances[layer], TRAIN) for layer in layers]
            for axis, (title, values, colour) in zip(
                row, [*series, ("probability of the class", one.probabilities, TEST)], strict=True
            ):
                mean, deviation = values.mean(axis=0), values.std(axis=0)
                axis.plot(one.amounts, values.T, color=PALE, linewidth=0.5)
                axis.fill_between(one.amounts, mean - deviation, mean + deviation, color=colour, alpha=0.15, lw=0)
                axis.plot(one.amounts, mean, color=colour)
                axis.set_title(title, fontsize=8)
                axis.set_ylim(bottom=0)
                axis.set_xlabel(f"{one.motion} ({MOTIONS[one.motion][0]})", fontsize=8)
                axis.grid(axis="y")
    return sheet


def equivariance_figure(found: Sequence[Equivariance]) -> Figure:
    """Three panels over the layers: change in place, change left when shifted along, change of the maps' means."""
    titles = {"moved": "change in place", "followed": "left when shifted along", "averaged": "change of the means"}
    with house_style():
        sheet = Figure(figsize=(9.5, 3), layout="constrained")
        axes = sheet.subplots(1, 3, sharey=True)
        for axis, (field, title) in zip(axes, titles.items(), strict=True):
            for index, shift in enumerate(found[0].shifts):
                means = [getattr(one, field)[:, index].mean() for one in found]
                axis.plot(range(len(found)), means, marker="o", markersize=3, label=f"{shift} px")
            axis.set_title(title, fontsize=9)
            axis.tick_params(labelleft=True)  # on a narrow page each stands by itself
            axis.set_xticks(range(len(found)), [one.layer for one in found], rotation=60, ha="right", fontsize=7)
            axis.grid(axis="y")
            axis.set_ylim(bottom=0)
        axes[-1].legend(title="shift", frameon=False, fontsize=7)
    return sheet
