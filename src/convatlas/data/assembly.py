"""How the samples of a split become a batch: what a `Loader` asks of a task.

A sample is read and brought into the network's shape by itself, in this process or in a worker; samples are then laid
together as a few tensors, which can travel through shared memory, and finished on their device.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convatlas.data.batch import LabelsT, LabelsT_co
from convatlas.data.splits import Loadable, problem_of
from convatlas.data.store import Progress
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing

T = TypeVar("T")
_SEEDS = 1 << 53  # what a uniform number in float64 tells apart


SplitT = TypeVar("SplitT", bound=Loadable)


class Empty(Protocol):
    """Makes a tensor of any values."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor: ...


def own_memory(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype)


class DamagedError(Exception):
    """One sample, in contrast to a wrong argument."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a loader reads.

    Args:
        device: of the batches.
        check: read samples that are not kept in memory once, and drop the damaged ones.
        memory_limit_bytes: prepared samples up to this size are kept in memory.
        on_progress: called with (done, total).
    """

    device: torch.device
    check: bool
    memory_limit_bytes: int
    on_progress: Progress | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image in the network's shape, and what belongs to it."""

    image: Tensor  # (C, h, w), uint8 as long as nothing makes fractions of it
    targets: tuple[Tensor, ...] = ()
    draws: Tensor | None = None  # (d,) float64, of the augmentations that are left for the device


@dataclass(frozen=True, slots=True)
class Columns:
    """B samples laid together."""

    images: Tensor  # (B, C, H, W)
    targets: tuple[Tensor, ...]  # each (B, ...); or (N, ...) with N the sum of `counts`
    sizes: tuple[tuple[int, int], ...] = ()  # (h, w) of each image where these differ; the rest of (H, W) is 0
    counts: tuple[int, ...] = ()  # rows of `targets` for each image, where these differ
    draws: Tensor | None = None  # (B, d) float64 on the CPU, of the augmentations that are left


class Stack(Protocol[LabelsT_co]):
    """Samples that lie in memory as one tensor, so that a batch of them is one operation."""

    def gather(self, batches: Sequence[Tensor], draws: Tensor) -> Iterable[tuple[Tensor, LabelsT_co]]:
        """Indices of some batches, each (B,), and the draws of the N samples of the split, (N, draws).

        Normalised images (B, C, H, W) and their labels, on the device, batch by batch.
        """
        ...


class Assembly(ABC, Generic[SplitT, LabelsT]):
    """How the samples of a split become a batch. It travels to worker processes.

    Args:
        split: the images, and what they come with.
        preprocessing: how images become the network's input.
    """

    draws: int = 0  # uniform numbers that a sample needs
    takes_empty_shares: bool = True  # whether a process may get no sample of a small last batch
    in_memory: bool = False
    uses_workers: bool = True

    def __init__(self, split: SplitT, preprocessing: Preprocessing) -> None:
        self.split, self.preprocessing = split, preprocessing

    @property
    @abstractmethod
    def augments(self) -> bool:
        """Whether a sample is not the same in every epoch."""

    @property
    @abstractmethod
    def sample_bytes(self) -> int:
        """About the room that a sample takes in shared memory; 0 where nobody knows. One that needs more still fits."""

    @abstractmethod
    def prepare(self, reading: Reading) -> Stack[LabelsT] | None:
        """Reads what is to be kept in memory, or checks; damaged samples are dropped from the split.

        Raises:
            ConvatlasError: more than half are damaged.
        """

    @abstractmethod
    def sample(self, index: int, draws: Tensor) -> Sample:
        """One sample by its random numbers, uniform in [0, 1).  (draws,)

        Raises:
            DamagedError: it can't be read; the message is the reason.
        """

    def collate(self, samples: Sequence[Sample], empty: Empty) -> Columns:
        """One target of each kind for an image, all of one size."""
        if not samples:
            return Columns(torch.empty(0, self.preprocessing.channels, *self.preprocessing.size, dtype=torch.uint8), ())
        images = stack([sample.image for sample in samples], empty)
        targets = zip(*(sample.targets for sample in samples), strict=True)
        draws = [sample.draws for sample in samples if sample.draws is not None]
        left = torch.stack(draws) if draws else None
        return Columns(images, tuple(stack(target, empty) for target in targets), draws=left)

    def finish_images(self, columns: Columns) -> Tensor:
        """What is left of the augmentation, on the device: (B, C, H, W) -> (B, C, H, W)"""
        return columns.images

    @abstractmethod
    def labels(self, columns: Columns, indices: Tensor, empty: Empty) -> LabelsT:
        """What the network learns from, on the device of `columns`."""

    def read(self, read: Callable[[int], T], index: int) -> T:
        """`read(index)`, whose ConvatlasError becomes a DamagedError."""
        try:
            return read(index)
        except ConvatlasError as error:
            raise DamagedError(problem_of(self.split.name(index), error).reason) from error


def generator_of(draws: Tensor) -> torch.Generator:
    """A generator for one sample, from its one uniform number in float64.  (1,)"""
    return torch.Generator().manual_seed(int(draws.item() * _SEEDS))


def stack(tensors: Sequence[Tensor], empty: Empty) -> Tensor:
    """B tensors of one dtype -> (B, ...); smaller ones are padded by 0 below and to the right."""
    largest = [max(sides) for sides in zip(*(tensor.shape for tensor in tensors), strict=True)]
    together = empty((len(tensors), *largest), tensors[0].dtype)
    for place, tensor in zip(together, tensors, strict=True):
        place.copy_(pad(tensor, largest))
    return together


def concatenate(tensors: Sequence[Tensor], empty: Empty) -> Tensor:
    """Tensors (n, ...) of one dtype -> (N, ...), one after another; smaller ones are padded as in `stack`."""
    largest = [max(sides) for sides in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    together = empty((sum(map(len, tensors)), *largest), tensors[0].dtype)
    for place, tensor in zip(together.split([len(tensor) for tensor in tensors]), tensors, strict=True):
        place.copy_(pad(tensor, (len(tensor), *largest)))
    return together


def pad(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """0 after the last value of each axis, up to the shape."""
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    rooms = [wanted - has for has, wanted in zip(tensor.shape, shape, strict=True)]
    return F.pad(tensor, [side for room in reversed(rooms) for side in (0, room)])
