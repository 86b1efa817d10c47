"""From the labels that a list or a shard gives for its images to class indices and names."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_MAX_DIGITS = 18  # longer ones are names, not numbers


def indexed(values: Sequence[int | str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as indices of the sorted class names, which are sorted by value where all are whole numbers.

    N labels -> (N,) int64, K names
    """
    names = {str(value) for value in values}
    ordered = sorted(names, key=lambda name: (int(name), name)) if are_numbers(names) else sorted(names)
    places = {name: place for place, name in enumerate(ordered)}
    return torch.tensor([places[str(value)] for value in values], dtype=torch.int64), tuple(ordered)


def are_numbers(names: Iterable[str]) -> bool:
    """Whether all names are whole numbers, of at most 18 digits."""
    return all(name.isdecimal() and name.isascii() and len(name) <= _MAX_DIGITS for name in names)
