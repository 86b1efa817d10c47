"""Images as JPEG, PNG or other files, decoded when they are read: single files, one block of bytes, or tar shards."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from convatlas.data.decode import decode
from convatlas.data.limits import read_bytes
from convatlas.data.splits import survivors
from convatlas.errors import ConvatlasError
from convatlas.records import Problem


class EncodedSplit(ABC):
    """A `Split` whose images are encoded files, wherever these lie.

    `white` is the largest value of the range that its 16-bit images stand in, where `depths.settle` found some.
    """

    white: int | None = None

    def __init__(self, labels: Tensor, problems: Sequence[Problem] = ()) -> None:
        self.labels = labels.to(torch.int64)
        self.problems: list[Problem] = list(problems)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def paths(self) -> tuple[str, ...] | None:
        return None

    @abstractmethod
    def name(self, index: int) -> str: ...

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """The bytes of an image's file. Raises OSError."""

    @abstractmethod
    def _chosen(self, indices: Tensor) -> Self:
        """A new split of these images, without problems."""

    @abstractmethod
    def _keep(self, indices: Tensor) -> None:
        """Leaves only these images; the labels are seen to."""

    def read(self, index: int, short_side: int | None = None) -> Tensor:
        try:
            return decode(self.encoded(index), short_side=short_side, white=self.white)
        except (ConvatlasError, OSError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            raise ConvatlasError(f"{self.name(index)} can't be read: {reason}") from ConvatlasError(str(reason))

    def select(self, indices: Sequence[int]) -> Self:
        chosen = self._chosen(torch.as_tensor(indices, dtype=torch.int64))
        chosen.white = self.white
        return chosen

    def drop(self, reasons: Mapping[int, str]) -> None:
        kept = survivors(self, reasons)
        self._keep(kept)
        self.labels = self.labels[kept]


class FileSplit(EncodedSplit):
    """Images in files."""

    def __init__(self, paths: Sequence[str], labels: Tensor, problems: Sequence[Problem] = ()) -> None:
        super().__init__(labels, problems)
        self._paths = tuple(paths)

    @property
    def paths(self) -> tuple[str, ...]:
        return self._paths

    def name(self, index: int) -> str:
        return self._paths[index]

    def encoded(self, index: int) -> bytes:
        return read_bytes(self._paths[index])

    def _chosen(self, indices: Tensor) -> "FileSplit":
        return FileSplit([self._paths[i] for i in indices.tolist()], self.labels[indices])

    def _keep(self, indices: Tensor) -> None:
        self._paths = tuple(self._paths[i] for i in indices.tolist())


class PackedSplit(EncodedSplit):
    """Files one after another in one array of bytes.

    Args:
        block: uint8 (total,), all files.
        bounds: int64 (N, 2), first byte and byte after the last of each image.
        labels: (N,) of an integer type.
        source: what the images are called in messages, usually the path of the .npz file.
    """

    def __init__(self, block: np.ndarray, bounds: np.ndarray, labels: Tensor, source: str) -> None:
        super().__init__(labels)
        self.block = block
        self.bounds = bounds
        self.source = source
        self._numbers = np.arange(len(bounds))  # as counted in the file, for messages

    def name(self, index: int) -> str:
        return f"{self.source}[{self._numbers[index]}]"

    def encoded(self, index: int) -> bytes:
        first, end = self.bounds[index]
        return self.block[first:end].tobytes()

    def _chosen(self, indices: Tensor) -> "PackedSplit":
        part = PackedSplit(self.block, self.bounds[indices.numpy()], self.labels[indices], self.source)
        part._numbers = self._numbers[indices.numpy()]
        return part

    def _keep(self, indices: Tensor) -> None:
        self.bounds, self._numbers = self.bounds[indices.numpy()], self._numbers[indices.numpy()]


class ShardSplit(EncodedSplit):
    """Files inside of uncompressed tar archives, read by their offset, so that any order is as good as another.

    Args:
        shards: paths of the archives.
        places: int64 (N, 3): which shard, first byte, length.
        names: each image's name in its archive.
        labels: (N,) of an integer type.
    """

    def __init__(
        self, shards: Sequence[str], places: np.ndarray, names: Sequence[str], labels: Tensor,
        problems: Sequence[Problem] = (),
    ) -> None:  # fmt: skip
        super().__init__(labels, problems)
        self.shards = tuple(shards)
        self.places = places
        self.names = tuple(names)

    def name(self, index: int) -> str:
        return f"{self.shards[self.places[index, 0]]}:{self.names[index]}"

    def encoded(self, index: int) -> bytes:
        shard, first, length = self.places[index].tolist()
        with open(self.shards[shard], "rb") as stream:
            stream.seek(first)
            found = stream.read(length)
        if len(found) < length:
            raise OSError(f"the shard ends after {len(found)} of {length} bytes")
        return found

    def _chosen(self, indices: Tensor) -> "ShardSplit":
        chosen = indices.tolist()
        return ShardSplit(self.shards, self.places[chosen], [self.names[i] for i in chosen], self.labels[indices])

    def _keep(self, indices: Tensor) -> None:
        self.places = self.places[indices.numpy()]
        self.names = tuple(self.names[i] for i in indices.tolist())
