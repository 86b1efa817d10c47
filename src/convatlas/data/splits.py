"""Labelled pictures in memory, in files or in one block of encoded bytes, behind one small interface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from convatlas.data.decode import decode
from convatlas.structures import ConvatlasError, Problem


class Split(Protocol):
    """N labelled pictures. `problems` names the files that could not be used; they aren't among the N."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64"""
        ...

    @property
    def paths(self) -> tuple[str, ...] | None:
        """One path a picture, or None where the pictures are no files."""
        ...

    @property
    def problems(self) -> list[Problem]: ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """uint8 (C, H, W) with C = 1 or 3. Raises ConvatlasError, which names the picture, where it is damaged."""
        ...

    def select(self, indices: Sequence[int]) -> "Split":
        """A new split of these pictures in this order, without problems."""
        ...

    def drop(self, reasons: Mapping[int, str]) -> None:
        """Takes damaged pictures out, in place, and adds them to `problems`.

        Raises:
            ConvatlasError: more than half of the pictures are damaged.
        """
        ...


@dataclass(frozen=True)
class DataSet:
    """A training and a test part with the same classes."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    source: str  # where it came from, for the run's record


class ArraySplit:
    """Pictures of one size in memory.

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

    def read(self, index: int) -> Tensor:
        return self.images[index]

    def select(self, indices: Sequence[int]) -> "ArraySplit":
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return ArraySplit(self.images[chosen], self.labels[chosen])

    def drop(self, reasons: Mapping[int, str]) -> None:
        kept = _survivors(len(self), reasons, [f"picture {i}" for i in sorted(reasons)], self.problems)
        self.images, self.labels = self.images[kept], self.labels[kept]


class FileSplit:
    """Pictures in files, decoded when they are read."""

    def __init__(self, paths: Sequence[str], labels: Tensor, problems: Sequence[Problem] = ()) -> None:
        self.paths: tuple[str, ...] = tuple(paths)
        self.labels = labels.to(torch.int64)
        self.problems: list[Problem] = list(problems)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Tensor:
        try:
            return decode(self.paths[index])
        except ConvatlasError as error:
            raise ConvatlasError(f"{self.paths[index]} can't be read: {error}") from error

    def select(self, indices: Sequence[int]) -> "FileSplit":
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return FileSplit([self.paths[i] for i in chosen.tolist()], self.labels[chosen])

    def drop(self, reasons: Mapping[int, str]) -> None:
        kept = _survivors(len(self), reasons, [self.paths[i] for i in sorted(reasons)], self.problems)
        self.paths, self.labels = tuple(self.paths[i] for i in kept.tolist()), self.labels[kept]


class PackedSplit:
    """Encoded pictures (JPEG, PNG, ...) one after another in one array of bytes, decoded when they are read.

    Args:
        encoded: uint8 (total,), all files.
        bounds: int64 (N, 2), first byte and byte after the last of each picture.
        labels: (N,) of an integer type.
        name: what the pictures are called in messages, usually the path of the .npz file.
    """

    def __init__(self, encoded: np.ndarray, bounds: np.ndarray, labels: Tensor, name: str) -> None:
        self.encoded = encoded
        self.bounds = bounds
        self.labels = labels.to(torch.int64)
        self.name = name
        self.paths: tuple[str, ...] | None = None
        self.problems: list[Problem] = []
        self._numbers = np.arange(len(bounds))  # as counted in the file, for messages

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Tensor:
        first, end = self.bounds[index]
        try:
            return decode(self.encoded[first:end].tobytes())
        except ConvatlasError as error:
            raise ConvatlasError(f"{self._label(index)} can't be read: {error}") from error

    def select(self, indices: Sequence[int]) -> "PackedSplit":
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        part = PackedSplit(self.encoded, self.bounds[chosen.numpy()], self.labels[chosen], self.name)
        part._numbers = self._numbers[chosen.numpy()]
        return part

    def drop(self, reasons: Mapping[int, str]) -> None:
        kept = _survivors(len(self), reasons, [self._label(i) for i in sorted(reasons)], self.problems)
        self.bounds, self.labels = self.bounds[kept.numpy()], self.labels[kept]
        self._numbers = self._numbers[kept.numpy()]

    def _label(self, index: int) -> str:
        return f"{self.name}[{self._numbers[index]}]"


def _survivors(n: int, reasons: Mapping[int, str], names: Sequence[str], problems: list[Problem]) -> Tensor:
    """The indices that stay, (n',) int64; the others are added to `problems`."""
    found = [Problem(name, reasons[i]) for name, i in zip(names, sorted(reasons), strict=True)]
    if len(found) * 2 > n:
        raise ConvatlasError(
            f"{len(found)} of {n} pictures can't be read, more than half; "
            f"the first is {found[0].path}: {found[0].reason}"
        )
    problems += found
    stays = torch.ones(n, dtype=torch.bool)
    stays[list(reasons)] = False
    return stays.nonzero()[:, 0]
