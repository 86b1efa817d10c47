"""Correspondence: whether hiding the same part of several images changes a layer's features alike.

Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013, section 4.3, table 1.
With x_i a layer's features of image i and e_i = x_i - masked x_i their change, the measure is the sum of the Hamming
distances between sign(e_i) and sign(e_j) over all pairs of images: the lower, the more alike. Table 1 prints it as a
"mean feature sign change" with a deviation, and does not say how it is normalised. We take the share of features whose
sign differs, and over the pairs its mean and deviation.

Two images that are masked at the same place change in the same units of a map, whatever they show. So the distance of
the maps' means over their places is given too: it knows nothing of places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.visualise.invariance import features
from convatlas.visualise.style import MUTED, TEST, TRAIN, house_style

Array = NDArray[np.float32]
Box = tuple[int, int, int, int]  # top, left, height, width in pixels
RANDOM = "random"
ROUNDING = 1e-6  # of a layer's largest feature: a change below it is none


@dataclass(frozen=True)
class Correspondence:
    """One part at one layer, over the P pairs of images that have it."""

    part: str
    layer: str
    distances: Array  # (P,) share of features whose change has another sign; 0 is the same change
    map_distances: Array | None  # (P,) the same for each map's mean over its places; None for a layer of vectors


def sign_distances(changes: Tensor) -> Array:
    """Of features' changes (N, F), for each pair i < j the share of the F whose signs (-1, 0, 1) differ: (P,)"""
    signs = changes.sign()
    pairs = list(combinations(range(len(changes)), 2))
    return np.array([float((signs[i] != signs[j]).float().mean()) for i, j in pairs], dtype=np.float32)


def measure(
    net: nn.Module,
    x: Tensor,
    parts: Mapping[str, Sequence[Box | None]],
    layers: Sequence[str],
    *,
    draws: int = 10,
    seed: int = 0,
    grey: Tensor | float = 0.0,
) -> list[Correspondence]:
    """Table 1 for images x (N, C, H, W): a row for each part and layer, and the random ones last.

    Args:
        parts: name -> where the part is in each image; None where an image lacks it.
        draws: how often random places are drawn, each image its own, of the parts' mean size.
        grey: what hides a part, a value or one a channel (C, 1, 1); 0 is the mean colour of normalised images.

    Raises:
        UsageError: fewer than two images have a part, a box leaves its image, or an unknown layer.
    """
    size = (x.shape[2], x.shape[3])
    for name, boxes in parts.items():
        if len(boxes) != len(x) or sum(box is not None for box in boxes) < 2:
            raise UsageError(f"part {name!r} is in fewer than two images; expected pairs that can be compared")
        for top, left, height, width in filter(None, boxes):
            inside = 0 <= top <= top + height <= size[0] and 0 <= left <= left + width <= size[1]
            if not inside or height < 1 or width < 1:
                raise UsageError(
                    f"part {name!r} is {height} x {width} pixels at {top}, {left}; "
                    f"expected a box inside {size[0]} x {size[1]}"
                )
    before, _ = features(net, x, layers)

    def rows(name: str, tries: Sequence[Sequence[Box | None]]) -> list[Correspondence]:
        seen: dict[str, list[tuple[Array, Array | None]]] = {layer: [] for layer in layers}
        for boxes in tries:
            with_part = [i for i, box in enumerate(boxes) if box is not None]
            after, _ = features(net, masked(x, boxes, grey), layers)
            for layer in layers:
                seen[layer].append(distances(before[layer][with_part], after[layer][with_part]))
        return [
            Correspondence(
                name, layer, np.concatenate([whole for whole, _ in found]),
                np.concatenate(means) if len(means := [m for _, m in found if m is not None]) else None,
            )
            for layer, found in seen.items()
        ]  # fmt: skip

    found = [row for name, boxes in parts.items() for row in rows(name, [boxes])]
    given = [box for boxes in parts.values() for box in boxes if box is not None]
    side = (round(float(np.mean([box[2] for box in given]))), round(float(np.mean([box[3] for box in given]))))
    generator = np.random.default_rng(seed)
    return found + rows(RANDOM, [random_boxes(generator, len(x), side, size) for _ in range(draws)])


def distances(before: Tensor, after: Tensor) -> tuple[Array, Array | None]:
    change = before - after
    change = torch.where(change.abs() > ROUNDING * before.abs().max(), change, 0)
    return sign_distances(change.flatten(1)), sign_distances(change.mean(dim=(2, 3))) if change.dim() == 4 else None


def masked(x: Tensor, boxes: Sequence[Box | None], grey: Tensor | float = 0.0) -> Tensor:
    """The images (N, C, H, W), each with its box hidden."""
    hidden = x.clone()
    for image, box in zip(hidden, boxes, strict=True):
        if box is not None:
            top, left, height, width = box
            image[:, top : top + height, left : left + width] = grey
    return hidden


def random_boxes(
    generator: np.random.Generator, count: int, side: tuple[int, int], size: tuple[int, int]
) -> list[Box | None]:
    """A box of one size for each image, anywhere inside."""
    tops, lefts = (
        generator.integers(0, whole - part + 1, count).tolist() for part, whole in zip(side, size, strict=True)
    )
    return [(top, left, *side) for top, left in zip(tops, lefts, strict=True)]


def figure(
    images: Sequence[Array], parts: Mapping[str, Sequence[Box | None]], found: Sequence[Correspondence]
) -> Figure:
    """Above, up to six images with their parts in the names' colours; below, each layer's mean distances by part."""
    layers = list(dict.fromkeys(row.layer for row in found))
    names = [*parts, RANDOM]
    shown = list(images[:6])
    with house_style():
        sheet = Figure(figsize=(9.5, 2.0 + 0.9 + 0.24 * len(names)), layout="constrained")
        (top,), (bottom,) = sheet.subfigures(2, 1, squeeze=False, height_ratios=(2.0, 0.9 + 0.24 * len(names)))
        for index, (axis, image) in enumerate(zip(top.subplots(1, len(shown), squeeze=False)[0], shown, strict=True)):
            axis.set_axis_off()
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            for number, boxes in enumerate(parts.values()):
                if (box := boxes[index]) is not None:
                    colour = f"C{number % 10}"
                    axis.add_patch(Rectangle((box[1], box[0]), box[3], box[2], fill=False, edgecolor=colour, lw=1.2))
        below = bottom.subplots(1, len(layers), squeeze=False)[0]
        for axis, layer in zip(below, layers, strict=True):
            rows = {row.part: row for row in found if row.layer == layer}
            for offset, field, colour, label in (
                (-0.13, "distances", TRAIN, "features"), (0.13, "map_distances", TEST, "means of the maps"),
            ):  # fmt: skip
                kept = [(place, getattr(rows[name], field)) for place, name in enumerate(names)]
                kept = [(place, values) for place, values in kept if values is not None]
                if not kept:
                    continue
                axis.errorbar(
                    [values.mean() for _, values in kept], [place + offset for place, _ in kept],
                    xerr=[values.std() for _, values in kept], fmt="o", markersize=4, color=colour, lw=1, label=label,
                )  # fmt: skip
                axis.axvline(kept[-1][1].mean(), color=colour, lw=0.8, linestyle=":")
            axis.axhline(len(names) - 1.5, color=MUTED, lw=0.6)
            axis.set_yticks(range(len(names)), names, fontsize=8)
            for number, label in enumerate(axis.get_yticklabels()[:-1]):
                label.set_color(f"C{number % 10}")
            axis.invert_yaxis()
            axis.set_xlim(left=0)
            axis.set_title(layer, fontsize=9)
            axis.set_xlabel("share of signs that differ", fontsize=8)
            axis.grid(axis="x")
        handles, labels = below[0].get_legend_handles_labels()
        bottom.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return sheet
