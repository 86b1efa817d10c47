"""Parts of a training split: held out for choosing an epoch, one of K folds, or a fraction to learn from.

All are functions of a seed alone and keep the proportions of the classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convatlas.data.data_set import DataSet
from convatlas.data.division import Division, keys, stratified
from convatlas.data.random import permutation
from convatlas.data.splits import Split
from convatlas.errors import UsageError


def hold_out(data: DataSet, fraction: float, *, seed: int) -> DataSet:
    """The data set with a fraction of each class of its training split as the validation split.

    Args:
        fraction: in (0, 1).
        seed: chooses the images.

    Raises:
        UsageError: the fraction is out of range or leaves nothing to learn from or to choose on, or the data bring a
            validation split of their own.

    Example:
        >>> from convatlas import data
        >>> digits = data.load("digits")
        >>> split = hold_out(digits, 0.1, seed=0)
        >>> len(split.train) + len(split.val) == len(digits.train)
        True
    """
    check_fractions(fraction, 1)
    return _with_val(data, stratified(_labels(data.train), fraction, seed), seed, f"val_fraction {fraction}")


def fold(data: DataSet, index: int, count: int, *, seed: int) -> DataSet:
    """The data set with one of `count` folds of its training split as the validation split.

    Each image is in exactly one fold, and each class is spread over the folds as evenly as it can be.

    Args:
        index: which fold, from 1.
        count: how many folds, at least 2.
        seed: chooses the images.

    Raises:
        UsageError: as `hold_out`, or an index or count out of range.
    """
    if not 2 <= count <= len(data.train):
        raise UsageError(f"folds is {count}; expected 2 to {len(data.train)}, the number of training images")
    if not 1 <= index <= count:
        raise UsageError(f"fold is {index}; expected 1 to {count}")
    return _with_val(data, fold_of(_labels(data.train), count, seed) == index - 1, seed, f"folds {count}")


def fold_of(labels: Tensor, count: int, seed: int) -> Tensor:
    """Which fold each sample is in: (N,) int64 -> (N,) int64, 0 to count - 1.

    The samples of one class after another are dealt out like cards, so that folds differ by one sample at most.
    """
    shuffled = permutation(len(labels), seed, 0)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    folds = torch.empty(len(labels), dtype=torch.int64)
    folds[by_class] = torch.arange(len(labels)) % count
    return folds


def reduce(data: DataSet, fraction: float, *, seed: int) -> DataSet:
    """The data set with a fraction of each class of its training split, at least one image of each.

    Args:
        fraction: in (0, 1].
        seed: chooses the images.

    Raises:
        UsageError: the fraction is out of range.
    """
    check_fractions(None, fraction)
    if fraction == 1:
        return data
    taken = stratified(_labels(data.train), fraction, seed)
    labels = _labels(data.train)
    for label in labels.unique():  # a class of one image is not held out by `stratified`
        if not taken[labels == label].any():
            taken |= labels == label
    return replace(data, train=_select(data.train, taken), division=_renewed(data, taken, None, seed))


def check_fractions(val_fraction: float | None, fraction: float) -> None:
    """Raises UsageError for one that is out of range; None stands for no validation split."""
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise UsageError(f"val_fraction is {val_fraction}; expected a number between 0 and 1")
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction is {fraction}; expected a number above 0, at most 1")


def _labels(split: Any) -> Tensor:
    return split.labels


def _with_val(data: DataSet, held_out: Tensor, seed: int, named: str) -> DataSet:
    if data.val is not None:
        raise UsageError(f"{named} with data that bring a validation split of their own; expected one of the two")
    if not held_out.any() or held_out.all():
        raise UsageError(
            f"{named} leaves {int((~held_out).sum())} images to learn from and {int(held_out.sum())} to choose on, of "
            f"{len(data.train)}; expected at least one each"
        )
    train, val = _select(data.train, ~held_out), _select(data.train, held_out)
    return replace(data, train=train, val=val, division=_renewed(data, ~held_out, held_out, seed))


def _select(split: Split, chosen: Tensor) -> Split:
    """These samples; the problems stay with the first part that is made of a split."""
    part = split.select(chosen.nonzero()[:, 0].tolist())
    part.problems.extend(split.problems)
    return part


def _renewed(data: DataSet, train: Tensor, val: Tensor | None, seed: int) -> Division:
    """What is written down of the split: the names that are in each part now."""
    names: Sequence[Any] = _names(data)
    before = data.division or Division(seed, 0.0, (), ())
    chosen = tuple(name for name, taken in zip(names, train.tolist(), strict=True) if taken)
    held_out = () if val is None else tuple(name for name, taken in zip(names, val.tolist(), strict=True) if taken)
    return replace(before, train=chosen, val=held_out or before.val)


def _names(data: DataSet) -> Sequence[Any]:
    """What the training samples are called in their source."""
    return data.division.train if data.division is not None else keys(data.train)
