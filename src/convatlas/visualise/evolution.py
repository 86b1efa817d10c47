"""How features come to be: the strongest projection of a map after each of several epochs.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, section 4 and figure 4.
Sudden jumps come from another image taking over as the one with the strongest activation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.analysis.receptive_field import ReceptiveField
from convatlas.errors import UsageError
from convatlas.visualise import deconvnet, patches
from convatlas.visualise.style import MUTED, around_grey, house_style

Array = NDArray[np.float32]
BATCH = 32


@dataclass(frozen=True)
class Evolution:
    """M maps of one layer after each of E epochs."""

    layer: str
    maps: tuple[int, ...]
    epochs: tuple[int, ...]
    activations: Array  # (M, E) of the strongest unit in all images
    images: NDArray[np.int64]  # (M, E) in which it was
    signals: Array  # (M, E, C, h, w) its projection, cut to what the unit sees


def evolve(nets: Iterable[tuple[int, nn.Module]], x: Tensor, layer: str, maps: Sequence[int]) -> Evolution:
    """The strongest unit of each map in the images x (N, C, H, W), projected, for each (epoch, network).

    Raises:
        UsageError: no network, no such layer or map, or a layer without maps.
    """
    epochs, activations, images, signals = [], [], [], []
    for epoch, net in nets:
        parts = ((x[i : i + BATCH], range(i, min(i + BATCH, len(x)))) for i in range(0, len(x), BATCH))
        best = patches.strongest(net, parts, layer, count=1)
        for index in maps:
            if not 0 <= index < len(best.activations):
                raise UsageError(f"map {index} is not in layer {layer!r}, which has {len(best.activations)} maps")
        units = [(index, *(int(axis) for axis in best.positions[index, 0])) for index in maps]
        found = [int(best.images[index, 0]) for index in maps]
        down = deconvnet.project_each(net, x[found], layer, units)
        field = patches.field_of(net, x[:1], layer)
        epochs.append(epoch)
        images.append(found)
        activations.append([best.activations[index, 0] for index in maps])
        signals.append([cut_out(signal, field, unit[1:]) for signal, unit in zip(down, units, strict=True)])
    if not epochs:
        raise UsageError("no epoch's weights; expected at least one")
    arrays = (np.array(activations, np.float32).T, np.array(images, np.int64).T, np.array(signals).swapaxes(0, 1))
    return Evolution(layer, tuple(maps), tuple(epochs), *arrays)


def cut_out(signal: Array, field: ReceptiveField | None, position: Sequence[int]) -> Array:
    """What one unit sees of (C, H, W), with zeros where its field reaches over the edge: (C, h, w)"""
    if field is None:
        return signal
    canvas = np.zeros((len(signal), *field.size), np.float32)
    starts = [field.offset[axis] + position[axis] * field.stride[axis] for axis in (0, 1)]
    at = patches.region(field, position, signal.shape[1:])
    rows = slice(at.rows.start - starts[0], at.rows.stop - starts[0])
    columns = slice(at.columns.start - starts[1], at.columns.stop - starts[1])
    canvas[:, rows, columns] = signal[:, at.rows, at.columns]
    return canvas


def figure(found: Evolution, *, bgr: bool = False) -> Figure:
    """A strip a map: its projection after each epoch, each on its own scale."""
    rows, columns = found.activations.shape
    with house_style():
        sheet = Figure(figsize=(1.15 * columns + 0.9, 1.15 * rows + 0.35), layout="constrained")
        axes = sheet.subplots(rows, columns, squeeze=False)
        for row, line in enumerate(axes):
            for column, axis in enumerate(line):
                signal = found.signals[row, column]
                axis.imshow(around_grey(signal, bgr=bgr), cmap="gray", vmin=0, vmax=1, interpolation="none")
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if row == 0:
                    axis.set_title(f"epoch {found.epochs[column]}", fontsize=8, loc="center", fontweight="normal")
            line[0].set_ylabel(f"map {found.maps[row]}", fontsize=8, color=MUTED)
    return sheet
