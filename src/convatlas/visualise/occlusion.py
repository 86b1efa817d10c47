"""Occlusion sensitivity: a grey square slides over the image, and the network is asked again at every place.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, section 4.2, figure 6:
(a) the image, (b) the total activity of the layer's strongest map, (c) what that map saw, (d) the probability of the
class, (e) the most probable class.

The places are those of captum's `Occlusion`: the squares start at multiples of the stride, and the last of a row is cut
at the edge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.visualise import attribution, backward, deconvnet
from convatlas.visualise.local_passes import LocalPasses
from convatlas.visualise.style import MUTED, around_grey, house_style

Array = NDArray[np.float32]
CLASS_COLOURS = ("#3b6ea8", "#c4501b", "#3f7d4e", "#8a5aa8", "#b59a2c", "#3f9ea6")  # the most frequent get one


@dataclass(frozen=True)
class Occlusion:
    """What the network said with the square at R x C places."""

    target: int  # the class
    layer: str
    map: int  # of the layer, the one with the strongest unit in the whole image
    size: tuple[int, int]  # of the square, in pixels
    rows: NDArray[np.int64]  # (R,) its upper edge
    columns: NDArray[np.int64]  # (C,) its left edge
    score: Array  # (R, C) the class's logit
    probability: Array  # (R, C) of the class
    predicted: NDArray[np.int64]  # (R, C) the most probable class
    activity: Array  # (R, C) sum over the map
    whole_score: float  # the same without a square
    whole_probability: float
    whole_activity: float

    def lost(self, height: int, width: int) -> Array:
        """What each pixel costs the class's score: the mean loss over the squares that hide it, (H, W)."""
        total, covers = np.zeros((height, width)), np.zeros((height, width))
        for i, top in enumerate(self.rows):
            for j, left in enumerate(self.columns):
                hidden = np.s_[top : top + self.size[0], left : left + self.size[1]]
                total[hidden] += self.whole_score - self.score[i, j]
                covers[hidden] += 1
        return (total / np.maximum(covers, 1)).astype(np.float32)


def places(length: int, size: int, stride: int) -> NDArray[np.int64]:
    """Where a window of `size` starts along an axis so that every pixel is covered."""
    return np.arange(-(-(length - size) // stride) + 1) * stride


def occlude(
    net: nn.Module,
    x: Tensor,
    target: int,
    *,
    size: int | tuple[int, int],
    stride: int,
    layer: str | None = None,
    grey: Tensor | float = 0.0,
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> Occlusion:
    """Slides a square over one image x (1, C, H, W).

    Args:
        size: of the square in pixels, one number or height and width.
        stride: pixels between places.
        layer: of the strongest map; by default the last one with maps.
        grey: what the square holds, a value or one a channel (C, 1, 1); 0 is the mean colour of normalised images.
        batch_size: places per forward pass.
        on_progress: called with (places done, places).

    Raises:
        UsageError: a square larger than the image, a stride that leaves gaps, no such class, or a layer without maps.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= x.shape[2] and 1 <= width <= x.shape[3]):
        raise UsageError(f"size is {height} x {width}; expected 1 to the image's {x.shape[2]} x {x.shape[3]} pixels")
    if not 1 <= stride <= min(height, width):
        raise UsageError(f"stride is {stride}; expected 1 to the square's {min(height, width)} pixels")
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; expected at least 1")
    layer = attribution.last_maps(net, x) if layer is None else layer
    module = backward.find_layer(net, layer)
    rows, columns = places(x.shape[2], height, stride), places(x.shape[3], width, stride)
    squares = [(int(top), int(left)) for top in rows for left in columns]
    kept: list[Any] = []
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        with backward.evaluating(net), torch.inference_mode():
            logits = net(x)
            maps = backward.checked(kept, layer)
            if maps.dim() != 4:
                raise UsageError(f"layer {layer!r} gives a vector, which has no places; expected a layer with maps")
            attribution.checked_class(target, logits)
            strongest = int(maps[0].amax(dim=(1, 2)).argmax())
            answers, activities = [logits], [maps[:, strongest].sum(dim=(1, 2))]
            passes = LocalPasses(net, x, np.array(squares), (height, width), until=layer, batch_size=batch_size)
            kept.clear()
            square = torch.as_tensor(grey, dtype=x.dtype, device=x.device).expand(x.shape[1], height, width)
            for start in range(0, len(squares), batch_size):
                chunk = range(start, min(start + batch_size, len(squares)))
                answers.append(passes(chunk, square))
                activities.append(kept.pop()[:, strongest].sum(dim=(1, 2)))
                if on_progress is not None:
                    on_progress(start + len(chunk), len(squares))
    finally:
        handle.remove()
    scores = torch.cat(answers).float()
    probabilities = scores.softmax(dim=1)
    activity = torch.cat(activities).float().cpu().numpy()
    score, probability = (values[:, target].cpu().numpy() for values in (scores, probabilities))
    predicted = scores.argmax(dim=1).cpu().numpy()
    grid = (len(rows), len(columns))
    return Occlusion(
        target, layer, strongest, (height, width), rows, columns,
        score[1:].reshape(grid), probability[1:].reshape(grid), predicted[1:].reshape(grid), activity[1:].reshape(grid),
        float(score[0]), float(probability[0]), float(activity[0]),
    )  # fmt: skip


def figure(
    image: Array, found: Occlusion, projection: deconvnet.Projection, classes: tuple[str, ...], *, bgr: bool = False
) -> Figure:
    """Figure 6 of the paper, (a) to (e), for one image (H, W, 3) or (H, W) in [0, 1]."""
    height, width = image.shape[:2]
    reach = (
        found.columns[0] + found.size[1] / 2, found.columns[-1] + found.size[1] / 2,
        found.rows[-1] + found.size[0] / 2, found.rows[0] + found.size[0] / 2,
    )  # fmt: skip
    step = [(edges[-1] - edges[0]) / max(len(edges) - 1, 1) / 2 or 0.5 for edges in (found.columns, found.rows)]
    extent = (reach[0] - step[0], reach[1] + step[0], reach[2] + step[1], reach[3] - step[1])
    with house_style():
        sheet = Figure(figsize=(11.5, 3.0))
        axes = sheet.subplots(
            1, 5, gridspec_kw={"left": 0.01, "right": 0.99, "top": 0.9, "bottom": 0.2, "wspace": 0.06}
        )
        for axis in axes:
            axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], facecolor="#e8ebee")
            axis.set_aspect("equal")
            axis.spines[:].set_visible(False)
        axes[0].imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
        axes[0].add_patch(
            Rectangle((found.columns[0], found.rows[0]), found.size[1], found.size[0], facecolor="#808080", lw=0)
        )
        activity = axes[1].imshow(found.activity, cmap="viridis", extent=extent, interpolation="none")
        axes[2].imshow(
            around_grey(projection.signal, bgr=bgr), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0)
        )
        probability = axes[3].imshow(
            found.probability, cmap="viridis", vmin=0, vmax=max(found.whole_probability, found.probability.max()),
            extent=extent, interpolation="none",
        )  # fmt: skip
        named = np.unique(found.predicted, return_counts=True)
        order = named[0][np.argsort(-named[1], kind="stable")][: len(CLASS_COLOURS)]
        colours = np.full((*found.predicted.shape, 3), 0.85)
        for name, colour in zip(order, CLASS_COLOURS, strict=False):
            colours[found.predicted == name] = to_rgb(colour)
            axes[4].plot([], [], "s", color=colour, label=classes[name][:18])
        axes[4].imshow(colours, extent=extent, interpolation="none")
        axes[4].legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize=7, frameon=False, ncols=2)
        for axis, drawn in ((axes[1], activity), (axes[3], probability)):
            bar = sheet.colorbar(drawn, cax=axis.inset_axes((0, -0.09, 1, 0.04)), orientation="horizontal")
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=7, color=MUTED)
        titles = (
            "(a) image and square", f"(b) activity of {found.layer}, map {found.map}", "(c) what that map saw",
            f"(d) probability of {classes[found.target]}", "(e) most probable class",
        )  # fmt: skip
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title, fontsize=8)
    return sheet
