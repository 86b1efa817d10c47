"""Labelled images behind one small interface; here those in memory, in `encoded` those still to be decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from convatlas.errors import ConvatlasError
from convatlas.records import Problem

if TYPE_CHECKING:
    from convatlas.data.division import Division


class Split(Protocol):
    """N labelled images. `problems` names the files that could not be used; they aren't among the N."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64"""
        ...

    @property
    def paths(self) -> tuple[str, ...] | None:
        """One path an image, or None where the images are no files."""
        ...

    @property
    def problems(self) -> list[Problem]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a message calls an image: its path, or its place in the source."""
        ...

    def read(self, index: int, short_side: int | None = None) -> Tensor:
        """uint8 (C, H, W) with C = 1 or 3. Raises ConvatlasError, which names the image, where it is damaged.

        An image far larger than `short_side` may come smaller, as `decode` says.
        """
        ...

    def select(self, indices: Sequence[int]) -> "Split":
        """A new split of these images in this order, without problems."""
        ...

    def drop(self, reasons: Mapping[int, str]) -> None:
        """Takes damaged images out, in place, and adds them to `problems`.

        Raises:
            ConvatlasError: more than half of the images are damaged.
        """
        ...


def problem_of(name: str, error: ConvatlasError) -> Problem:
    """What an error says of the image that it names, without naming it twice."""
    return Problem(name, str(error).removeprefix(f"{name}: ").removeprefix(f"{name} can't be read: "))


@dataclass(frozen=True)
class DataSet:
    """A training, a test and perhaps a validation split with the same classes.

    Epochs are compared on `val`, so that `test` is seen once, by the weights that were chosen. Where `val` is None,
    `test` has to serve for both.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    source: str  # where it came from, for the run's record
    division: "Division | None" = None  # where the source brought no test part
    colours: tuple[tuple[int, int, int], ...] | None = None  # of the classes, where they have any
    val: Split | None = None
    val_serves_as_test: bool = False  # the source has a validation split and no test split


class ArraySplit:
    """Images of one size in memory.

    Args:
        images: uint8 (N, C, H, W), C = 1 or 3.
        labels: (N,) of an integer type.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images are {images.dtype} {tuple(images.shape)}; expected uint8 (N, 1 or 3, H, W)")
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images and {len(labels)} labels; expected one label an image")
        self.images = images
        self.labels = labels.to(torch.int64)
        self.paths: tuple[str, ...] | None = None
        self.problems: list[Problem] = []

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"image {index}"

    def read(self, index: int, short_side: int | None = None) -> Tensor:
        return self.images[index]

    def select(self, indices: Sequence[int]) -> "ArraySplit":
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return ArraySplit(self.images[chosen], self.labels[chosen])

    def drop(self, reasons: Mapping[int, str]) -> None:
        kept = survivors(self, reasons)
        self.images, self.labels = self.images[kept], self.labels[kept]


class Listed(Protocol):
    """Images with names, and what is known to be wrong with them."""

    @property
    def problems(self) -> list[Problem]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...


def survivors(split: Listed, reasons: Mapping[int, str]) -> Tensor:
    """The indices that stay, (n',) int64; the others are added to the split's problems.

    Raises:
        ConvatlasError: more than half of the images are damaged.
    """
    found = [Problem(split.name(i), reasons[i]) for i in sorted(reasons)]
    if len(found) * 2 > len(split):
        raise ConvatlasError(
            f"{len(found)} of {len(split)} images can't be read, more than half; "
            f"the first is {found[0].path}: {found[0].reason}"
        )
    split.problems.extend(found)
    stays = torch.ones(len(split), dtype=torch.bool)
    stays[list(reasons)] = False
    return stays.nonzero()[:, 0]
