"""First-layer filters: what a network looks for in the pixels themselves."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.errors import ConvatlasError
from convatlas.visualise.style import MUTED, TIMES, house_style

Array = NDArray[np.float32]
TILES = 256  # that a figure shows


def first_layer_filters(net: nn.Module) -> tuple[str, Array]:
    """(module path, weights (N, C, h, w)) of the first convolution in the order of the modules.

    Raises:
        ConvatlasError: the network has no module with a four-dimensional weight.
    """
    for name, module in net.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim == 4:
            return name, weight.detach().float().cpu().numpy()
    raise ConvatlasError(f"{type(net).__name__} has no convolution whose filters could be shown")


def aliased_shares(filters: Array, stride: tuple[int, int]) -> Array:
    """Of each filter (N, C, h, w) the share of its energy at frequencies that a layer of this stride folds over: (N,)

    After a stride of s only frequencies up to 1/(2s) of the pixels' own remain apart. Zeiler and Fergus (2013, section
    4.1) saw the folding in AlexNet's second layer, which made them take a stride of 2. A single pixel, which passes all
    frequencies alike, has a share of about 1 - 1/s^2. A filter of zeros gives 0.
    """
    side = max(64, *filters.shape[2:])  # bins of the spectrum
    energy = (np.abs(np.fft.fft2(filters, (side, side))) ** 2).sum(axis=1)  # (N, side, side)
    frequencies = np.abs(np.fft.fftfreq(side))  # cycles a pixel
    kept = np.outer(*(frequencies <= 1 / (2 * step) for step in stride))
    total = energy.sum(axis=(1, 2))
    folded = (energy * ~kept).sum(axis=(1, 2))
    return np.divide(folded, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)


def figure(filters: Array) -> Figure:
    """A grid of the filters (N, C, h, w): colour where C is 3, else one grey tile per (filter, channel).

    All tiles share one scale that is symmetric around 0 (mid-grey), so that strengths can be compared.
    """
    count, channels, height, width = filters.shape
    coloured = channels == 3
    tiles = filters.transpose(0, 2, 3, 1) if coloured else filters.reshape(count * channels, height, width)
    tiles = tiles[:TILES]
    limit = float(np.abs(tiles).max()) or 1.0
    columns = columns_for(len(tiles))
    rows = math.ceil(len(tiles) / columns)
    tile = min(1.25, 9.0 / columns)
    with house_style():
        source_image = Figure(
            figsize=(max(columns * tile, 4.0) + (0 if coloured else 0.8), rows * (tile + 0.2) + 0.15),
            layout="constrained",
        )
        axes = source_image.subplots(rows, columns, squeeze=False)
        image = None
        for index, axis in enumerate(axes.flat):
            axis.set_axis_off()
            if index >= len(tiles):
                continue
            if coloured:
                axis.imshow(tiles[index] / (2 * limit) + 0.5, interpolation="none")
            else:
                image = axis.imshow(tiles[index], cmap="gray", vmin=-limit, vmax=limit, interpolation="none")
            label = str(index) if coloured or channels == 1 else f"{index // channels}·{index % channels}"
            axis.set_title(label, fontsize=7, color=MUTED, loc="center", pad=2, fontweight="normal")
        if image is not None:
            bar = source_image.colorbar(image, ax=axes, shrink=0.9, aspect=18, pad=0.02)
            bar.ax.tick_params(labelsize=7)
            bar.outline.set_visible(False)
    return source_image


def caption(layer: str, filters: Array) -> str:
    """What `figure` shows of the filters (N, C, h, w)."""
    count, channels, height, width = filters.shape
    parted = channels not in (1, 3)
    shown = min(count * channels, TILES) if parted else min(count, TILES)
    whole = count * channels if parted else count
    tiles = ", one tile per input channel" if parted else ""
    cut = f"; the first {shown:,} of {whole:,} are shown" if shown < whole else ""
    size = f"{height}{TIMES}{width}"
    return (
        f"The {count:,} filters of {layer}, {size} pixels each{tiles}{cut}. One scale for all: mid-grey is zero, "
        "brighter is positive."
    )


def columns_for(count: int) -> int:
    """Tiles a row: 16 for many, else the number from 6 to 12 that leaves the fewest places of the last row empty."""
    if count > 48:
        return 16
    return min(range(min(count, 12), min(count, 6) - 1, -1), key=lambda columns: -count % columns)
