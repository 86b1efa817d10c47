"""Batches in a reproducible order, whatever the images come with: labels, masks, objects or joints.

Small prepared images in memory are gathered, augmented and normalised several batches at once, because a tensor
operation costs the same few microseconds for one sample as for hundreds. Otherwise samples are assembled one by one,
here or in worker processes, which hand over uint8; the batch is normalised on its device.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic

import torch
from torch import Tensor

from convatlas.data import store
from convatlas.data.assembly import Assembly, Columns, Reading, SplitT, Stack
from convatlas.data.batch import Batch, LabelsT
from convatlas.data.buffers import Buffers
from convatlas.data.preprocess import normalise
from convatlas.data.random import balanced_order, permutation, table
from convatlas.data.workers import Assembled, Batches, Requests, SharedBuffers, in_workers, workers_that_fit
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Problem

_CHUNK_BYTES = 2 << 20  # float32 input that is made at once; stays in a processor's cache


class Loader(Generic[SplitT, LabelsT]):
    """Batches of a split. The order depends on (seed, epoch) alone, the augmentation on (seed, epoch, sample index).

    Images are decoded when the loader is made where they fit in memory: damaged ones are dropped from the split (in
    place) and named in its `problems`. Worker processes live as long as the loader.

    Args:
        assembly: the split, and how its samples become a batch.
        batch_size: samples a batch; the last may be smaller.
        shuffle: a new order every epoch; otherwise the split's.
        seed: of order and augmentation.
        device: of the batches; images in memory are kept there where they are of one size.
        workers: processes that decode where the images don't fit in memory, or that augment; the values don't depend
            on it.
        drop_last: leave out a last batch that isn't full.
        balanced: every class equally often in an epoch; rare images are repeated, frequent ones left out.
        share: (rank, processes): the part of each batch that this process gets; it may be empty in a small last batch,
            which is left out where the assembly can't do with that.
        check: read samples that don't fit in memory once when the loader is made (of masks and people, up to 2,000).
            Without it a damaged image is left out of its batch, which is then smaller, and named in the split's
            `problems` when it is met. Of several processes each knows of its own only.
        on_progress: called with (done, total) while images are decoded.
        memory_limit_bytes: prepared images up to this size are kept in memory.

    Raises:
        UsageError: an argument out of range.
        ConvatlasError: no images, or more than half are damaged.

    Example:
        >>> from convatlas.data import ArraySplit, LabelAssembly
        >>> from convatlas.records import Preprocessing
        >>> split = ArraySplit(torch.zeros(5, 1, 4, 4, dtype=torch.uint8), torch.arange(5))
        >>> loader = Loader(LabelAssembly(split, Preprocessing((4, 4), channels=1)), batch_size=2)
        >>> [batch.labels.tolist() for batch in loader.epoch(0)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        assembly: Assembly[SplitT, LabelsT],
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        workers: int = 0,
        drop_last: bool = False,
        balanced: bool = False,
        share: tuple[int, int] = (0, 1),
        check: bool = True,
        on_progress: store.Progress | None = None,
        memory_limit_bytes: int = store.MEMORY_LIMIT_BYTES,
    ) -> None:
        smallest = 1 if assembly.takes_empty_shares else share[1]
        for name, value, least in (("batch_size", batch_size, smallest), ("seed", seed, 0), ("workers", workers, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; expected at least {least}")
        if len(assembly.split) == 0:
            raise ConvatlasError("there are no images to load; expected at least one")
        self.assembly, self.split, self.preprocessing = assembly, assembly.split, assembly.preprocessing
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.device, self.workers, self.share = torch.device(device), workers, share
        self.drop_last, self.balanced = drop_last, balanced
        self._smallest = smallest
        self._requests = Requests()
        self._in_workers: Iterable[Assembled | ConvatlasError] | None = None
        self._shared: SharedBuffers | None = None
        self._image_memory, self._label_memory = Buffers(), Buffers()
        self._stack = assembly.prepare(Reading(self.device, check, memory_limit_bytes, on_progress))
        if assembly.uses_workers:
            self.workers = workers_that_fit(workers, batch_size * assembly.sample_bytes)

    def __len__(self) -> int:
        """Steps an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full + (rest >= self._smallest and not self.drop_last)

    @property
    def in_memory(self) -> bool:
        return self.assembly.in_memory

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch[LabelsT]]:
        """The batches of an epoch from `start_step` on, so that a run can go on where it stopped."""
        order = self._order(epoch)[start_step * self.batch_size : len(self) * self.batch_size]
        if len(order) == 0:
            return iter(())
        whole = order.split(self.batch_size)
        rank, processes = self.share
        shares = [batch.tensor_split(processes)[rank] for batch in whole] if processes > 1 else whole
        totals = [len(batch) for batch in whole]
        if self._stack is not None:
            return self._gathered(self._stack, shares, totals, epoch)
        return self._one_by_one(shares, totals, epoch)

    def _order(self, epoch: int) -> Tensor:
        if self.balanced:
            return balanced_order(self.split.labels, self.seed, epoch)
        n = len(self.split)
        return permutation(n, self.seed, epoch) if self.shuffle else torch.arange(n)

    def _gathered(
        self, stack: Stack[LabelsT], batches: Sequence[Tensor], totals: Sequence[int], epoch: int
    ) -> Iterator[Batch[LabelsT]]:
        height, width = self.preprocessing.size
        sample_bytes = 4 * self.preprocessing.channels * height * width
        together = max(1, _CHUNK_BYTES // (sample_bytes * max(len(batches[0]), 1)))
        draws = table(len(self.split), self.assembly.draws, self.seed, epoch)
        for first in range(0, len(batches), together):
            chunk = batches[first : first + together]
            gathered = stack.gather(chunk, draws)
            for (images, labels), indices, total in zip(gathered, chunk, totals[first:], strict=False):
                yield Batch(images, labels, indices, total)

    def _one_by_one(self, batches: Sequence[Tensor], totals: Sequence[int], epoch: int) -> Iterator[Batch[LabelsT]]:
        for assembled, total in zip(self._assembled(batches, epoch), totals, strict=True):
            self._report(assembled.damaged, len(assembled.indices), total)
            indices = torch.tensor(assembled.indices, dtype=torch.int64)
            columns = self._on_device(assembled)
            images = normalise(self.assembly.finish_images(columns), self.preprocessing, self._image_memory.empty)
            for image, (height, width) in zip(images, columns.sizes, strict=False):
                image[:, height:], image[:, :, width:] = 0, 0  # the mean
            labels = self.assembly.labels(columns, indices, self._label_memory.empty)
            yield Batch(images, labels, indices, total - len(assembled.damaged))

    def _assembled(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Assembled]:
        for assembled in self._from_workers(batches, epoch) if self._works_apart else self._here(batches, epoch):
            if isinstance(assembled, ConvatlasError):
                raise assembled
            yield assembled

    @property
    def _works_apart(self) -> bool:
        return self.workers > 0 and self.assembly.uses_workers

    def _here(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Assembled | ConvatlasError]:
        assembled = Batches(self.assembly, self.seed)
        return (assembled[epoch, tuple(batch.tolist())] for batch in batches)

    def _from_workers(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Assembled | ConvatlasError]:
        self._requests.epoch, self._requests.batches = epoch, batches
        if self._in_workers is None:
            if self.device.type == "cpu":
                self._shared = SharedBuffers(self.workers, self.batch_size * self.assembly.sample_bytes)
            self._in_workers = in_workers(
                Batches(self.assembly, self.seed, self._shared),
                self._requests,
                workers=self.workers,
                pin_memory=self.device.type == "cuda",
            )
        return iter(self._in_workers)

    def _on_device(self, assembled: Assembled) -> Columns:
        columns = assembled.columns
        if assembled.slot is not None and self._shared is not None:
            images, *targets = (self._shared.read(assembled.slot, form) for form in assembled.forms)
            return replace(columns, images=images, targets=tuple(target.clone() for target in targets))
        images = columns.images.to(self.device, non_blocking=True)
        targets = tuple(target.to(self.device, non_blocking=True) for target in columns.targets)
        return replace(columns, images=images, targets=targets)

    def _report(self, damaged: Sequence[tuple[int, str]], read: int, total: int) -> None:
        """Names what was met without a check; the split keeps its numbering."""
        for index, reason in damaged:
            problem = Problem(self.split.name(index), reason)
            if problem not in self.split.problems:
                self.split.problems.append(problem)
        if damaged and (len(damaged) == total or (read == 0 and not self.assembly.takes_empty_shares)):
            index, reason = damaged[0]
            raise ConvatlasError(f"no image of a batch can be read; {self.split.name(index)}: {reason}")
