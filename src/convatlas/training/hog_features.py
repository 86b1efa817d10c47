"""Histograms of oriented gradients, in a pyramid of an image, and templates that slide over it.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.

Shapes   36 values a block: 2 x 2 cells of 8 x 8 pixels, 9 orientations each; R x C blocks
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CELL, ORIENTATIONS = 8, 9
BLOCK = 4 * ORIENTATIONS
MARGIN = 1  # cells of surroundings on each side, which Dalal and Triggs found to help
_STEPS = 4  # levels of the pyramid to each halving


@dataclass(frozen=True)
class Template:
    """A linear filter over blocks for objects of one class and about one aspect."""

    label: int
    cells: tuple[int, int]  # rows, columns of the object, without the margin
    sides: tuple[float, float]  # shortest and longest height in pixels that it looks for
    weights: Tensor  # (36, R, C) float32
    bias: float


@dataclass(frozen=True)
class Level:
    """One size of an image."""

    scale: float  # its pixels for one of the image
    blocks: Tensor  # (36, R, C) float32, the margin of the image's edge included


def blocks(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (36, H // 8 - 1, W // 8 - 1), of the strongest of the three colours' gradients, L2-Hys.

    OpenCV's, which spreads each gradient over the neighbouring cells and orientations as Dalal and Triggs do.
    """
    rows, columns = (side // CELL for side in pixels.shape[:2])
    window = (columns * CELL, rows * CELL)
    descriptor = cv2.HOGDescriptor(window, (2 * CELL,) * 2, (CELL,) * 2, (CELL,) * 2, ORIENTATIONS)
    values = descriptor.compute(np.ascontiguousarray(pixels[: window[1], : window[0]]))
    return torch.from_numpy(np.asarray(values)).view(columns - 1, rows - 1, BLOCK).permute(2, 1, 0).contiguous()


def pyramid(image: Tensor, templates: Sequence[Template]) -> Iterator[Level]:
    """The image in all sizes in which some template looks at it; it is never enlarged more than a template asks."""
    heights = [template.cells[0] * CELL / side for template in templates for side in template.sides]
    first, last = (round(_STEPS * math.log2(end)) for end in (max(heights), min(heights)))
    for step in range(first, last - 1, -1):
        scale = 2 ** (step / _STEPS)
        size = [round(side * scale) for side in image.shape[1:]]
        if any(looks_at(template, scale) for template in templates) and min(size) >= 2 * CELL:
            yield Level(scale, blocks(_framed(_colour(image, (size[0], size[1])))))


def looks_at(template: Template, scale: float) -> bool:
    """Whether an object of the template's cells, at this scale, has a height that occurred."""
    height = template.cells[0] * CELL / scale
    slack = 2 ** (0.5 / _STEPS)
    return template.sides[0] / slack <= height <= template.sides[1] * slack


def windows(image: Tensor, level: Level, template: Template, min_score: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, 4) in the image's pixels, scores and labels of the windows from a score on."""
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    if any(have < want for have, want in zip(level.blocks.shape[1:], template.weights.shape[1:], strict=True)):
        return empty
    scores = F.conv2d(level.blocks[None], template.weights[None])[0, 0] + template.bias
    rows, columns = (scores >= min_score).nonzero().unbind(1)
    corner = torch.stack([columns, rows], 1) * CELL  # the frame and the margin cancel each other
    extent = torch.tensor([template.cells[1], template.cells[0]]) * CELL
    boxes = torch.cat([corner, corner + extent], 1) / level.scale
    height, width = image.shape[1:]
    boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height]))
    return boxes, scores[rows, columns], torch.full((len(rows),), template.label)


def warped(image: Tensor, box: Tensor, template: Template) -> list[np.ndarray]:
    """An object with its margin, brought to the template's size, and mirrored: two vectors."""
    x1, y1, x2, y2 = box.tolist()
    rows, columns = template.cells
    right, down = (x2 - x1) * MARGIN / columns, (y2 - y1) * MARGIN / rows
    patch = _cut(image, (x1 - right, y1 - down, x2 + right, y2 + down))
    pixels = _colour(patch, ((rows + 2 * MARGIN) * CELL, (columns + 2 * MARGIN) * CELL))
    return [blocks(view).flatten().numpy() for view in (pixels, pixels[:, ::-1].copy())]


def _cut(image: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """A part of the image; what lies outside repeats its edge."""
    x1, y1, x2, y2 = (round(side) for side in box)
    height, width = image.shape[1:]
    rows = torch.arange(y1, max(y2, y1 + 1)).clamp(0, height - 1)
    columns = torch.arange(x1, max(x2, x1 + 1)).clamp(0, width - 1)
    return image[:, rows][:, :, columns]


def _colour(image: Tensor, size: tuple[int, int]) -> np.ndarray:
    """uint8 (C, H, W) -> (h, w, 3)"""
    scaled = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return scaled.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _framed(pixels: np.ndarray) -> np.ndarray:
    """With a margin all around that repeats the edge, so that objects at the edge have surroundings."""
    return np.pad(pixels, ((MARGIN * CELL,) * 2, (MARGIN * CELL,) * 2, (0, 0)), mode="edge")
