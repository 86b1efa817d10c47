"""Feature maps of one example, layer by layer, as LeCun's figure 2 draws the network."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.visualise.style import INK, MUTED, TIMES, house_style

Array = NDArray[np.float32]
MAPS_PER_ROW = 16


def rows(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that get a row: the network's children; a Sequential of single layers is opened, a stage is not."""
    found: list[tuple[str, nn.Module]] = []

    def open_up(prefix: str, parent: nn.Module) -> None:
        for name, child in parent.named_children():
            leaves = all(not list(layer.children()) for layer in child.children())
            if isinstance(child, nn.Sequential) and len(child) and leaves:
                open_up(f"{prefix}{name}.", child)
            else:
                found.append((f"{prefix}{name}", child))

    open_up("", net)
    return found


def feature_maps(net: nn.Module, x: Tensor) -> list[tuple[str, Array]]:
    """(layer name, maps (C, H, W) or (C,)) for one example x (1, C, H, W), in the order of the forward pass.

    A layer without parameters that keeps the shape (squashing function, normalisation, dropout), and any batch
    normalisation, belongs to the layer before it: the row shows the state after it, as the papers do. A layer that
    only reshapes gets no row.
    """
    states: list[tuple[str, Array]] = []

    def watch(name: str, module: nn.Module) -> Any:
        own = any(True for _ in module.parameters()) or any(True for _ in module.buffers())
        folded = not own or isinstance(module, nn.modules.batchnorm._BatchNorm)

        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
                return
            value = output[0].detach().float().cpu().numpy()
            same_shape, same_size = output.shape == inputs[0].shape, output.numel() == inputs[0].numel()
            if folded and same_shape and states and states[-1][1].size == value.size:
                states[-1] = (states[-1][0], value.reshape(states[-1][1].shape))
            elif not (folded and same_size):
                states.append((name, value))

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in rows(net)]
    was_training = net.training
    try:
        with torch.no_grad():
            net.eval()(x)
    finally:
        net.train(was_training)
        for handle in handles:
            handle.remove()
    return states


def strongest(maps: Array, limit: int = MAPS_PER_ROW) -> list[int]:
    """The maps to show, in their own order: all, or the `limit` that vary most over the image."""
    if len(maps) <= limit:
        return list(range(len(maps)))
    spread = maps.reshape(len(maps), -1).std(axis=1)
    return sorted(np.argsort(-spread, kind="stable")[:limit].tolist())


def figure(image: Array, states: list[tuple[str, Array]], classes: tuple[str, ...] | None = None) -> Figure:
    """The input (H, W) or (H, W, 3) in [0, 1], then one row a layer: maps as images, vectors as strips.

    Each row has its own scale from its smallest to its largest value; at most 16 maps a layer are shown.
    """
    width = 10.3
    unit = (width - 1.9) / MAPS_PER_ROW  # the side of a map where sixteen stand in a row
    heights = [1.45, *(row_height(maps, unit) for _, maps in states)]
    with house_style():
        sheet = Figure(figsize=(width, sum(heights) + 0.2))
        grid = GridSpec(
            len(heights), 1, sheet, height_ratios=heights, left=0.005, right=0.995, top=1, bottom=0.005, hspace=0
        )
        size = TIMES.join(str(n) for n in (image.shape[2:] + image.shape[:2]))
        row = start_row(sheet, grid[0], "input", size)
        grey = {"cmap": "gray", "vmin": 0, "vmax": 1} if image.ndim == 2 else {}
        place(row, image, 0, 1.25, width, heights[0], grey)
        for index, (name, maps) in enumerate(states, start=1):
            shape = TIMES.join(str(n) for n in maps.shape if n > 1 or maps.ndim == 1) or "1"
            kept = strongest(maps) if is_map(maps) else []
            row = start_row(
                sheet, grid[index], name, shape, f", {len(kept)} shown" if len(kept) < len(maps) and kept else ""
            )
            low, high = float(maps.min()), float(maps.max())
            scale = {"cmap": "gray", "vmin": low, "vmax": high if high > low else low + 1}
            if is_map(maps):
                side = map_side(maps, unit)
                for position, channel in enumerate(kept):
                    place(row, maps[channel], position * (side + 0.06), side, width, heights[index], scale)
            else:
                last = index == len(states)
                names = classes if last and classes is not None and len(classes) == maps.size <= 24 else None
                draw_strip(row, maps.reshape(1, -1), width, heights[index], scale, names)
    return sheet


def is_map(maps: Array) -> bool:
    return maps.ndim == 3 and maps.shape[1] * maps.shape[2] > 1


def map_side(maps: Array, unit: float) -> float:
    """Few maps may be larger than the sixteenth of a row; inches."""
    return min(1.05, (unit * MAPS_PER_ROW) / min(len(maps), MAPS_PER_ROW)) - 0.06


def row_height(maps: Array, unit: float) -> float:
    return map_side(maps, unit) * maps.shape[1] / maps.shape[2] + 0.22 if is_map(maps) else 0.62


def start_row(sheet: Figure, cell: Any, name: str, shape: str, note: str = "") -> Axes:
    """An empty row in inches from its left edge, with the layer's name and shape written into its margin."""
    axis = sheet.add_subplot(cell)
    axis.set_axis_off()
    short = name if len(name) <= 20 else "…" + name[-19:]
    axis.text(0, 0.5, short, transform=axis.transAxes, weight="bold", color=INK, va="bottom", fontsize=10)
    axis.text(0, 0.46, f"{shape}{note}", transform=axis.transAxes, color=MUTED, va="top", fontsize=8)
    return axis


def place(
    row: Axes, values: Array, left: float, side: float, width: float, height: float, scale: dict[str, Any]
) -> None:
    """Draws one map `left` inches right of the margin, `side` inches wide, in the middle of the row."""
    tall = side * values.shape[0] / values.shape[1]
    box = ((1.75 + left) / width, (height - tall) / 2 / height, side / width, tall / height)
    axis = row.inset_axes(box)
    axis.imshow(values, interpolation="none", aspect="auto", **scale)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color=MUTED, linewidth=0.4)


def draw_strip(
    row: Axes, values: Array, width: float, height: float, scale: dict[str, Any], names: tuple[str, ...] | None
) -> None:
    """A vector as one strip of cells over the width of the row; the last one may carry the classes' names."""
    axis = row.inset_axes((1.75 / width, 0.36, (width - 1.9) / width, 0.4))
    axis.imshow(values, interpolation="none", aspect="auto", **scale)
    axis.set(yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color=MUTED, linewidth=0.4)
    if names is None:
        axis.set_xticks([])
        return
    axis.set_xticks(range(len(names)), [name if len(name) <= 9 else name[:8] + "…" for name in names], fontsize=8)
    axis.tick_params(length=0)
