"""A seeded split into training, validation and test images, written down as `splits.json`."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from convatlas.data.encoded import ShardSplit
from convatlas.data.limits import load_json
from convatlas.data.random import permutation
from convatlas.errors import ConvatlasError

FORMAT = 1
Key = str | int  # a path below the data's folder, a shard and a name in it, or a place in the source


class Divisible(Protocol):
    """What a division needs of a split, whatever its images are marked with."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64: each is held out in the same proportion."""
        ...

    @property
    def paths(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def select(self, indices: Sequence[int]) -> Self: ...


AnySplit = TypeVar("AnySplit", bound=Divisible)


@dataclass(frozen=True)
class Division:
    """The splits of a source that brings none, or not all, by what its images are called there."""

    seed: int
    test_fraction: float
    train: tuple[Key, ...]
    test: tuple[Key, ...]  # () where the source brings its own
    val: tuple[Key, ...] = ()  # held out of the training split

    def to_json(self) -> str:
        values = {"format": FORMAT, "seed": self.seed, "test_fraction": self.test_fraction}
        splits = {"train": self.train, "test": self.test} | ({"val": self.val} if self.val else {})
        return json.dumps(values | splits, indent=1, ensure_ascii=False) + "\n"

    def apply(self, split: AnySplit) -> tuple[AnySplit, AnySplit]:
        """The training and the test part of the split, before anything is held out of the former for validation.

        Images that are in neither are left out.

        Raises:
            ConvatlasError: an image of the division is not there any more.
        """
        places = {key: place for place, key in enumerate(keys(split))}
        whole = (*self.train, *self.val)
        for key in (*whole, *self.test):
            if key not in places:
                raise ConvatlasError(f"the written split names {key!r}, which is not in the data any more")
        train, test = ([places[key] for key in part] for part in (whole, self.test))
        return split.select(train), split.select(test)


def divide(split: Divisible, *, test_fraction: float, seed: int) -> Division:
    """Holds out the fraction of each class, chosen by the seed."""
    is_test = stratified(split.labels, test_fraction, seed).tolist()
    named = list(zip(keys(split), is_test, strict=True))
    train, test = (tuple(key for key, held_out in named if held_out == wanted) for wanted in (False, True))
    return Division(seed, test_fraction, train, test)


def read_division(path: Path) -> Division:
    """A division from its file.

    Raises:
        ConvatlasError: the file is absent, damaged, or of another version.
    """
    try:
        values: Any = load_json(path)
    except OSError as error:
        raise ConvatlasError(f"{path}: no split to read ({error.strerror})") from error
    except ConvatlasError as error:
        raise ConvatlasError(f"{path}: not a written split ({str(error).removeprefix(f'{path} ')})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ConvatlasError(f"{path}: not a written split of format {FORMAT}, which this version of convatlas reads")
    try:
        parts = (_keys(values["train"]), _keys(values["test"]), _keys(values.get("val", [])))
        return Division(int(values["seed"]), float(values["test_fraction"]), *parts)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConvatlasError(f"{path}: not a written split (no usable {error})") from error


def _keys(values: Any) -> tuple[Key, ...]:
    """What samples are called; ValueError for anything else in a file that was edited."""
    if not isinstance(values, list) or not all(type(value) in (str, int) for value in values):
        raise ValueError("list of names or places")
    return tuple(values)


def keys(split: Divisible) -> Sequence[Key]:
    """What the images are called in their source, wherever that lies."""
    if paths := split.paths:
        if len({os.path.isabs(path) for path in paths}) > 1:  # a list may have both
            paths = tuple(map(os.path.abspath, paths))
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
        return [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    if isinstance(split, ShardSplit):
        shards = [os.path.basename(shard) for shard in split.shards]
        return [f"{shards[shard]}:{name}" for shard, name in zip(split.places[:, 0], split.names, strict=True)]
    return range(len(split))


def stratified(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Which samples are held out: (N,) int64 -> (N,) bool, the fraction of each class, rounded.

    At least one of each class is held out and at least one is not; a class of one sample is not held out.
    """
    order = permutation(len(labels), seed, 0)
    in_order = labels[order]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = order[in_order == label]
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        held_out[members[:count]] = True
    return held_out
