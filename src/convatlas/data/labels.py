"""From the labels that a list or a shard gives for its pictures to class indices and names."""

from collections.abc import Sequence

import torch
from torch import Tensor


def indexed(values: Sequence[int | str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as indices of the sorted class names, which are sorted by value where all are whole numbers.

    N labels -> (N,) int64, K names
    """
    names = {str(value) for value in values}
    ordered = sorted(names, key=int) if all(name.isdecimal() and name.isascii() for name in names) else sorted(names)
    places = {name: place for place, name in enumerate(ordered)}
    return torch.tensor([places[str(value)] for value in values], dtype=torch.int64), tuple(ordered)
