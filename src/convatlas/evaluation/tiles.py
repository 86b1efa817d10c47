"""Overlap-tile inference: images of any size through a network whose output is smaller than its input.

Ronneberger, Fischer and Brox 2015, section 2 and figure 2: the image is continued beyond its borders by mirroring,
and cut into overlapping tiles whose outputs fit together without a seam.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.analysis.trace import trace_of
from convatlas.data.segmentation.transform import mirror
from convatlas.errors import UsageError
from convatlas.records import Shape
from convatlas.sizes import Sizes, bare_copy, find_sizes


@dataclass(frozen=True)
class Margins:
    """What an axis of a network without padding takes and loses."""

    sizes: Sizes  # of the input
    margin: int  # pixels lost on each side

    def advance(self, tile: int) -> int:
        """Pixels from one tile of this length to the next: a multiple of the step, so that all pool alike."""
        return (tile - 2 * self.margin) // self.sizes.step * self.sizes.step

    def starts(self, length: int, tile: int) -> range:
        """Where the tiles start that cover `length` pixels."""
        more = length - (tile - 2 * self.margin)
        return (
            range(0, -(-more // self.advance(tile)) * self.advance(tile) + 1, self.advance(tile))
            if more > 0
            else range(1)
        )

    def least(self, length: int) -> int:
        """The shortest tile whose output has at least `length` pixels."""
        missing = length + 2 * self.margin - self.sizes.smallest
        return self.sizes.smallest + max(0, -(-missing // self.sizes.step)) * self.sizes.step


def overlap_tile(
    net: nn.Module,
    images: Tensor,
    input_shape: Shape,
    *,
    tile: int | None = None,
    memory_bytes: int | None = None,
) -> Tensor:
    """The logits of every pixel, borders included.  (B, C, H, W) -> (B, K, H, W)

    Equal to one pass over the whole mirrored image, whatever the tile.

    Args:
        net: without padding, in eval mode: its output is shorter than its input by the same margin at all sizes.
        images: of any size.
        input_shape: (C, H, W), of an input that the network takes.
        tile: side of the tiles in pixels, as the network takes them. None: one pass over the whole image, or what
            `memory_bytes` allows.
        memory_bytes: the largest tile is taken whose activations fit into it (`tile_for_memory`).

    Raises:
        UsageError: the network pads its maps, both `tile` and `memory_bytes` are given, or a tile does not fit.
    """
    if tile is not None and memory_bytes is not None:
        raise UsageError(f"tile is {tile} and memory_bytes {memory_bytes}; expected one of them")
    axes = margins(net, input_shape)
    whole = [axis.least(length) for axis, length in zip(axes, images.shape[2:], strict=True)]
    if memory_bytes is not None:
        tile = tile_for_memory(net, input_shape, memory_bytes, most=max(whole))
    for axis in axes:
        if tile is not None and (tile not in axis.sizes or axis.advance(tile) < 1):
            least = axis.least(axis.sizes.step)
            raise UsageError(
                f"tile is {tile}; {type(net).__name__} takes {least} pixels and more in steps of {axis.sizes.step}"
            )
    sides = whole if tile is None else [min(tile, side) for side in whole]
    (rows, columns), mirrored = _cut(images, axes, sides)
    bands = []
    with torch.no_grad():
        for top in rows:
            parts = [net(mirrored[:, :, top : top + sides[0], left : left + sides[1]]) for left in columns]
            bands.append(_joined(parts, columns.step, dim=3))
    return _joined(bands, rows.step, dim=2)[:, :, : images.shape[2], : images.shape[3]]


def margins(net: nn.Module, input_shape: Shape) -> tuple[Margins, ...]:
    """For each spatial axis what the network takes and loses.

    Raises:
        UsageError: it does not take `input_shape`, or its output is not its input less a margin.
    """
    sizes = [axis for axis in find_sizes(net, input_shape) if axis is not None]
    if len(sizes) < len(input_shape) - 1:
        raise UsageError(f"input shape {input_shape} does not fit {type(net).__name__}")
    trial = bare_copy(net)
    shapes = [input_shape[1:], tuple(side + axis.step for side, axis in zip(input_shape[1:], sizes, strict=True))]
    with torch.no_grad():
        outputs = [trial(_sample(trial, (input_shape[0], *shape))).shape[2:] for shape in shapes]
    lost = [tuple(i - o for i, o in zip(*pair, strict=True)) for pair in zip(shapes, outputs, strict=True)]
    if lost[0] != lost[1] or any(pixels < 2 or pixels % 2 for pixels in lost[0]):
        raise UsageError(
            f"{type(net).__name__} loses {lost[0]} pixels of {shapes[0]} and {lost[1]} of {shapes[1]}; "
            "expected a network without padding, which loses the same margin on all sides"
        )
    return tuple(Margins(axis, pixels // 2) for axis, pixels in zip(sizes, lost[0], strict=True))


def tile_for_memory(net: nn.Module, input_shape: Shape, memory_bytes: int, *, most: int) -> int:
    """The side of the largest square tile, up to `most`, whose activations take no more than `memory_bytes`.

    Counted by the trace: the most values that are held at once for one image, the input included. Weights are not
    counted, nor what a library needs to convolve.

    Raises:
        UsageError: not even the smallest tile fits.
    """
    (axis, *_), trial = margins(net, input_shape), bare_copy(net)

    def needed(count: int) -> int:
        side = least + count * axis.sizes.step
        return max(record.alive_bytes for record in trace_of(trial, _sample(trial, (input_shape[0], side, side))))

    least = axis.least(axis.sizes.step)
    if needed(0) > memory_bytes:
        raise UsageError(f"memory_bytes is {memory_bytes}; a tile of {least} pixels takes {needed(0)}")
    return least + axis.sizes.step * _last(
        lambda count: needed(count) <= memory_bytes, (most - least) // axis.sizes.step
    )


def _sample(trial: nn.Module, shape: Shape) -> Tensor:
    return torch.empty(1, *shape, dtype=next(trial.parameters()).dtype, device="meta")


def _last(holds: Callable[[int], bool], limit: int) -> int:
    """The largest number up to `limit` for which it holds, where it holds up to there and not beyond."""
    low, high = 0, max(0, limit) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _cut(images: Tensor, axes: Sequence[Margins], sides: Sequence[int]) -> tuple[list[range], Tensor]:
    """Where the tiles start along each axis, and the image continued as far as the last of them reach."""
    starts, mirrored = [], images
    for dim, (axis, side) in enumerate(zip(axes, sides, strict=True), start=2):
        starts.append(axis.starts(images.shape[dim], side))
        places = mirror(images.shape[dim], axis.margin, starts[-1][-1] + side, images.device)
        mirrored = mirrored.index_select(dim, places)
    return starts, mirrored


def _joined(parts: Sequence[Tensor], advance: int, dim: int) -> Tensor:
    """Outputs of neighbouring tiles as one; each but the last repeats in what lies beyond `advance`."""
    *others, last = parts
    return torch.cat([*(part.narrow(dim, 0, advance) for part in others), last], dim)
