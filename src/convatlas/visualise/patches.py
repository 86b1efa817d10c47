"""What each map likes best in a whole data set: its strongest patches, and beside them what made it fire in each.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, figure 2. Memory does not
grow with the data set: of every map only the strongest activations so far are kept, and where they were.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.analysis.receptive_field import ReceptiveField, receptive_fields
from convatlas.analysis.trace import trace
from convatlas.errors import ConvatlasError, UsageError
from convatlas.visualise import backward
from convatlas.visualise.style import MUTED, around_grey, house_style

Array = NDArray[np.float32]
WIDTH, HEIGHT = 3.5, 1.66  # inches of three by three patches and their projections


@dataclass(frozen=True)
class Strongest:
    """Of each of N maps the k strongest units, at most one an image, strongest first."""

    layer: str
    activations: Array  # (N, k)
    images: NDArray[np.int64]  # (N, k) the indices that the batches gave
    positions: NDArray[np.int64]  # (N, k, 2) y, x in the map
    extent: tuple[int, int]  # of the map
    lowest: float  # value of any unit for any image; a rectified layer has none below 0


@dataclass(frozen=True)
class Region:
    """A part of an image, cut at its edges."""

    rows: slice
    columns: slice


def strongest(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Sequence[int]]],
    layer: str,
    *,
    count: int = 9,
    on_images: Callable[[int], None] | None = None,
) -> Strongest:
    """Runs batches of (x (B, C, H, W), the images' indices) through and keeps the best of each map.

    Args:
        count: how many a map.
        on_images: called with the number of images seen.

    Raises:
        UsageError: no such layer, or one without maps.
        ConvatlasError: there is no image.
    """
    best: tuple[Tensor, Tensor, Tensor] | None = None
    kept: list[object] = []
    seen, width, height, lowest = 0, 1, 1, float("inf")
    handle = backward.find_layer(net, layer).register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        with backward.evaluating(net), torch.inference_mode():
            for x, indices in batches:
                net(x)
                maps = backward.checked(kept, layer)
                kept.clear()
                if maps.dim() != 4:
                    raise UsageError(f"layer {layer!r} gives a vector, which has no places; expected a layer with maps")
                height, width = maps.shape[2:]
                values, places = maps.flatten(2).max(dim=2)  # (B, N)
                lowest = min(lowest, float(maps.min()))
                found = (values.T.cpu(), torch.as_tensor(indices).expand(maps.shape[1], -1), places.T.cpu())
                best = found if best is None else tuple(torch.cat(pair, 1) for pair in zip(best, found, strict=True))  # pyright: ignore[reportAssignmentType]
                assert best is not None
                order = best[0].topk(min(count, best[0].shape[1]), dim=1).indices
                best = (best[0].gather(1, order), best[1].gather(1, order), best[2].gather(1, order))
                seen += len(x)
                if on_images is not None:
                    on_images(seen)
    finally:
        handle.remove()
    if best is None:
        raise ConvatlasError(f"no image to look for the strongest patches of {layer!r} in")
    positions = torch.stack((best[2] // width, best[2] % width), dim=2)
    return Strongest(layer, best[0].float().numpy(), best[1].numpy(), positions.numpy(), (height, width), lowest)


def field_of(net: nn.Module, x: Tensor, layer: str) -> ReceptiveField | None:
    """The receptive field of a layer's units in images like x (1, C, H, W); None where the atlas can't tell."""
    records = trace(net, tuple(x.shape[1:]), device=x.device)
    inside = [record.index for record in records if (record.name + "/").startswith((f"{layer}/", f"{layer}."))]
    return receptive_fields(records)[inside[-1]] if inside else None


def is_rectified(net: nn.Module, x: Tensor, layer: str) -> bool:
    """Whether a rectifier takes all that a layer gives, for images like x (1, C, H, W)."""
    records = trace(net, tuple(x.shape[1:]), device=x.device)
    inside = [record.index for record in records if (record.name + "/").startswith((f"{layer}/", f"{layer}."))]
    readers = [record.kind for record in records if inside and inside[-1] in record.inputs]
    return bool(readers) and all(kind == "relu" for kind in readers)


def region(field: ReceptiveField | None, position: Sequence[int], size: Sequence[int]) -> Region:
    """What one unit sees of an image of `size` (H, W); the whole image where its field is not known."""
    if field is None:
        return Region(slice(0, size[0]), slice(0, size[1]))
    starts = [field.offset[axis] + int(position[axis]) * field.stride[axis] for axis in (0, 1)]
    rows, columns = (
        slice(max(0, start), min(size[axis], start + field.size[axis])) for axis, start in enumerate(starts)
    )
    return Region(rows, columns)


@dataclass(frozen=True)
class MapPatches:
    """What is drawn of one map: patches (h, w, 3) or (h, w) in [0, 1] and projections of the same parts (C, h, w)."""

    map: int
    activations: Array
    patches: list[Array]
    projections: list[Array]


def figure(layer: str, found: Sequence[MapPatches], *, bgr: bool = False, side: int = 3) -> Figure:
    """For each map a square of projections on the left and of their patches on the right, as the paper's figure 2."""
    most = max(len(one.patches) for one in found)
    across = min(side, most)
    down = -(-most // across)
    columns = min(len(found), max(2, 2 * side // (across + 1)))
    rows = -(-len(found) // columns)
    with house_style():
        sheet = Figure(figsize=(max(2.2, WIDTH * across / side) * columns, (0.3 + HEIGHT * down / side) * rows))
        parts = sheet.subfigures(rows, columns, squeeze=False, wspace=0.02, hspace=0.04).flat
        heading = 0.3 / (0.3 + HEIGHT * down / side)
        for part, one in zip(parts, found, strict=False):
            part.text(0.02, 1 - heading / 3, f"{layer}, map {one.map}", fontsize=9, va="top", fontweight="bold")
            ends = [f"{value:.3g}" for value in (one.activations[0], one.activations[-1])]
            part.text(
                0.98, 1 - heading / 3, " to ".join(dict.fromkeys(ends)), ha="right", va="top", color=MUTED, fontsize=8
            )
            grid = part.add_gridspec(
                down, 2 * across + 1, width_ratios=[1] * across + [0.12] + [1] * across, wspace=0.04, hspace=0.04,
                left=0.02, right=0.98, top=1 - heading, bottom=0.01,
            )  # fmt: skip
            for index, (patch, projection) in enumerate(zip(one.patches, one.projections, strict=True)):
                left = part.add_subplot(grid[index // across, index % across])
                left.imshow(around_grey(projection, bgr=bgr), cmap="gray", vmin=0, vmax=1, aspect="auto")
                right = part.add_subplot(grid[index // across, across + 1 + index % across])
                right.imshow(patch, cmap="gray", vmin=0, vmax=1, aspect="auto")
                for axis in (left, right):
                    axis.set_axis_off()
    return sheet
