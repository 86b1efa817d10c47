"""Batches of images with something of their own each: a mask, the joints of a body.

The order depends on (seed, epoch) alone, what is drawn for a sample on (seed, epoch, index): as with `loader.Loader`,
a run that goes on sees what it would have seen, whatever the number of workers.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from convatlas.data.assembly import Request, Requests, in_workers
from convatlas.data.loader import Batch
from convatlas.data.preprocess import normalise
from convatlas.data.random import permutation, uniforms
from convatlas.data.splits import Split, problem_of
from convatlas.data.store import threads
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing

_READ_FIRST = 2000  # images of a split that are all read before the first epoch
Assemble = Callable[[Tensor, Any, torch.Generator | None], tuple[Tensor, Tensor]]


class PairedSplit(Split, Protocol):
    """A split whose images have targets."""

    def read_pair(self, index: int) -> tuple[Tensor, Any]:
        """uint8 (C, H, W) and its target. Raises ConvatlasError, which names the file, where one is damaged."""
        ...


@dataclass(frozen=True, slots=True)
class _Assembled:
    images: Tensor  # uint8 (B, C, h, w)
    targets: Tensor  # (B, ...)
    indices: Tensor  # (B,)
    damaged: tuple[tuple[int, ConvatlasError], ...]


@dataclass(frozen=True, slots=True)
class _PairAssembly(Dataset):
    """Item (epoch, indices) is the batch of these samples. It travels to worker processes."""

    split: PairedSplit
    assemble: Assemble
    random: bool
    seed: int

    def __getitem__(self, request: Request) -> _Assembled | ConvatlasError:
        try:
            return self._assembled(*request)
        except ConvatlasError as error:  # would arrive from a worker with its traceback in the message
            return error

    def _assembled(self, epoch: int, wanted: tuple[int, ...]) -> _Assembled:
        made, kept = [], []
        damaged: list[tuple[int, ConvatlasError]] = []
        for index in wanted:
            try:
                image, target = self.split.read_pair(index)
            except ConvatlasError as error:
                damaged.append((index, error))
                continue
            made.append(self.assemble(image, target, generator_of(self.seed, epoch, index) if self.random else None))
            kept.append(index)
        if not made:
            raise ConvatlasError(f"no image of a batch can be read; {damaged[0][1]}")
        images, targets = (torch.stack(part) for part in zip(*made, strict=True))
        return _Assembled(images, targets, torch.tensor(kept, dtype=torch.int64), tuple(damaged))


def generator_of(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random numbers of one sample in one epoch."""
    key = uniforms(torch.tensor([index]), 1, seed, epoch).item()
    return torch.Generator().manual_seed(int(key * 2**53))


def drop_damaged(split: PairedSplit) -> None:
    """Reads all images with their targets, and takes those that are damaged out of the split, in place.

    Raises:
        ConvatlasError: more than half are.
    """

    def read(index: int) -> tuple[int, str] | None:
        try:
            split.read_pair(index)
        except ConvatlasError as error:
            return index, problem_of(split.name(index), error).reason
        return None

    with ThreadPoolExecutor(threads()) as pool:
        damaged = dict(filter(None, pool.map(read, range(len(split)))))
    if damaged:
        split.drop(damaged)


class PairedLoader:
    """Batches of a split whose images have targets, all of one size.

    Args:
        split: the images. Of up to 2,000 all are read when the loader is made, and damaged ones dropped (in place) and
            named in its `problems`; of more, damaged ones are left out of their batch when they are met.
        preprocessing: of the images; `assemble` brings them to its size.
        assemble: makes image and target of one sample, alike for the same generator.
        batch_size: samples a batch; the last may be smaller.
        shuffle: a new order every epoch, and a generator for each sample; otherwise neither.
        seed: of order and samples.
        device: of the batches.
        workers: processes that read; the values don't depend on it.
        share: (rank, processes): the part of each batch that this process gets.

    Raises:
        UsageError: an argument out of range, or several processes with a batch too small to go round.
        ConvatlasError: no images, or more than half are damaged.
    """

    def __init__(
        self,
        split: PairedSplit,
        preprocessing: Preprocessing,
        assemble: Assemble,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        for name, value, least in (("batch_size", batch_size, share[1]), ("seed", seed, 0), ("workers", workers, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; expected at least {least}")
        if len(split) == 0:
            raise ConvatlasError("there are no images to load; expected at least one")
        if len(split) <= _READ_FIRST:
            drop_damaged(split)
        self.split, self.preprocessing = split, preprocessing
        self.batch_size, self.shuffle, self.seed, self.share = batch_size, shuffle, seed, share
        self.device, self.workers = torch.device(device), workers
        self._assembly = _PairAssembly(split, assemble, shuffle, seed)
        self._requests = Requests()
        self._in_workers: Iterable | None = None

    def __len__(self) -> int:
        """Steps an epoch. Of several processes each has its share of every batch, so a last one too small is left."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full + (rest >= self.share[1])

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on."""
        count = len(self.split)
        order = permutation(count, self.seed, epoch) if self.shuffle else torch.arange(count)
        whole = order.split(self.batch_size)[start_step : len(self)]
        rank, processes = self.share
        shares = [batch.tensor_split(processes)[rank] for batch in whole]
        for found, batch in zip(self._assembled(shares, epoch), whole, strict=True):
            if isinstance(found, ConvatlasError):
                raise found
            self._report(found.damaged)
            images = normalise(found.images.to(self.device, non_blocking=True), self.preprocessing)
            targets = found.targets.to(self.device, non_blocking=True)
            yield Batch(images, targets, found.indices, len(batch) - len(found.damaged))

    def _assembled(self, batches: list[Tensor], epoch: int) -> Iterator[_Assembled | ConvatlasError]:
        if not batches:
            return iter(())
        if not self.workers:
            return (self._assembly[epoch, tuple(batch.tolist())] for batch in batches)
        self._requests.epoch, self._requests.batches = epoch, batches
        if self._in_workers is None:
            pinned = self.device.type == "cuda"
            self._in_workers = in_workers(self._assembly, self._requests, workers=self.workers, pin_memory=pinned)
        return iter(self._in_workers)

    def _report(self, damaged: tuple[tuple[int, ConvatlasError], ...]) -> None:
        for index, error in damaged:
            problem = problem_of(self.split.name(index), error)
            if problem not in self.split.problems:
                self.split.problems.append(problem)
