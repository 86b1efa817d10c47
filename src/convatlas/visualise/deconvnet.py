"""The deconvnet: which structure in the image makes one unit fire.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, section 2.1.

All activations of a layer but one are set to zero, and the rest goes down through the network: unpooled by the recorded
places of the maxima, rectified where the network rectifies, filtered with the transposed filters. Biases take no part,
nor does contrast normalisation ("we do not use any contrast normalization operations when in this reconstruction
path"). What the paper's network lacks is transposed: sums copy, concatenations split, average pools spread, a batch
normalisation scales as if it were folded into its convolution. `convatlas.visualise.deconv_steps` builds the same from
transposed convolutions and unpooling, one step after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.visualise import backward
from convatlas.visualise.style import MUTED, around_grey, house_style

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Projection:
    """What one unit of a layer saw, in the image's own pixels."""

    layer: str
    map: int
    position: tuple[int, ...]  # (y, x) of the unit in its map; () in a vector
    activation: float
    signal: Array  # (C, H, W), the channels as the network reads them


def project(
    net: nn.Module, x: Tensor, layer: str, *, maps: Sequence[int] | None = None, limit: int = 9
) -> list[Projection]:
    """The strongest unit of each map, projected down; for one image x (1, C, H, W).

    Args:
        maps: which maps of the layer; None takes the `limit` maps with the strongest units, strongest first.

    Raises:
        UsageError: no such layer, or no such map.
    """
    seen = backward.forward(net, x, layer, backward.DECONVNET)
    if maps is None:
        maps = seen.maps[0].flatten(1).amax(dim=1).topk(min(limit, seen.maps.shape[1])).indices.tolist()
    projections = []
    for index in maps:
        unit = strongest_unit(seen.maps[0], index, layer)
        signal = torch.zeros_like(seen.maps)
        signal[0, *unit] = seen.maps[0, *unit].detach()
        down = seen.down(signal)[0].cpu().numpy()
        projections.append(Projection(layer, index, unit[1:], float(signal[0, *unit]), down))
    return projections


def project_each(net: nn.Module, x: Tensor, layer: str, units: Sequence[tuple[int, ...]]) -> Array:
    """One unit (map, y, x) of each image of a batch, projected down together: (B, C, H, W)."""
    seen = backward.forward(net, x, layer, backward.DECONVNET)
    signal = torch.zeros_like(seen.maps)
    for sample, unit in enumerate(units):
        signal[sample, *unit] = seen.maps[sample, *unit].detach()
    return seen.down(signal).cpu().numpy()


def strongest_unit(maps: Tensor, index: int, layer: str) -> tuple[int, ...]:
    """(map, y, x), or (map,) in a vector, of the largest value of one map of (N, h, w) or (N,)."""
    if not 0 <= index < len(maps):
        raise UsageError(
            f"map {index} is not in layer {layer!r}, which has {len(maps)} maps; expected 0 to {len(maps) - 1}"
        )
    place = int(maps[index].argmax())
    return index, *(int(axis) for axis in np.unravel_index(place, maps.shape[1:]))


def figure(image: Array, projections: Sequence[Projection], *, bgr: bool = False) -> Figure:
    """The image (H, W, 3) or (H, W) in [0, 1], then for each projection the part that it covers: patch and signal.

    Each projection is on its own scale around mid-grey.
    """
    columns = min(5, 1 + len(projections))
    rows = -(-(1 + len(projections)) // columns)
    with house_style():
        sheet = Figure(figsize=(2.3 * columns, 1.75 * rows), layout="constrained")
        axes = list(sheet.subplots(rows, columns, squeeze=False).flat)
        for axis in axes:
            axis.set_axis_off()
        axes[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        axes[0].set_title("image", fontsize=8)
        for axis, found in zip(axes[1:], projections, strict=False):
            axis.imshow(pair(image, found.signal, bgr=bgr), vmin=0, vmax=1, interpolation="none")
            axis.set_title(f"map {found.map}", fontsize=8, loc="left")
            axis.set_title(f"{found.activation:.3g}", fontsize=8, loc="right", color=MUTED, fontweight="normal")
    return sheet


def pair(image: Array, signal: Array, *, bgr: bool = False) -> Array:
    """The part of the image that a signal (C, H, W) covers, a white line, and the signal there: (h, 2w + line, 3)"""
    covered = np.abs(signal).max(axis=0) > 0
    if covered.any():
        rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    else:
        part = np.s_[:, :]
    sides = [side[part] for side in (image, around_grey(signal, bgr=bgr))]
    sides = [side if side.ndim == 3 else side[..., None].repeat(3, axis=2) for side in sides]
    line = np.ones((len(sides[0]), max(1, sides[0].shape[1] // 40), 3))
    return np.concatenate([sides[0], line, sides[1]], axis=1).astype(np.float32)
