"""Fully connected layers that slide over a map, which makes them convolutions without a second copy of the weights."""

from torch import Tensor


def sliding_windows(maps: Tensor, side: int) -> Tensor:
    """All windows of `side` positions along every spatial axis, each flattened as `nn.Flatten` does.

    (B, C, H, W) -> (B, H - side + 1, W - side + 1, C * side * side), and alike for one or three spatial axes.

    `nn.Linear`, activations and dropout work on the last axis, so what a network does to one flattened map it does to
    every window, and `movedim(-1, 1)` makes the outputs a map again.
    """
    axes = range(2, maps.dim())
    for axis in axes:
        maps = maps.unfold(axis, side, 1)  # appends an axis of `side`
    return maps.movedim(1, len(axes) + 1).flatten(len(axes) + 1)
