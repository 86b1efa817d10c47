"""Batches in a reproducible order, from memory where the prepared images fit, otherwise from worker processes.

In memory, whole batches are gathered, augmented and normalised at once, several small batches together, because a
tensor operation costs the same few microseconds for one sample as for hundreds. Worker processes hand over uint8, and
the batch is normalised on its device.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convatlas.data import store
from convatlas.data.assembly import (
    Assembled,
    Assembly,
    Requests,
    SharedBuffers,
    apply,
    framing,
    in_workers,
    steps_alone,
    workers_that_fit,
)
from convatlas.data.augment import Augmentation
from convatlas.data.buffers import Buffers
from convatlas.data.preprocess import Framing, normalise
from convatlas.data.random import balanced_order, permutation, table
from convatlas.data.splits import Split
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing, Problem

_CHUNK_BYTES = 2 << 20  # float32 input that is made at once; stays in a processor's cache


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples, ready for the network."""

    images: Tensor  # (B, C, H, W) float32, on the loader's device
    labels: Tensor  # (B,) int64, on the loader's device
    indices: Tensor  # (B,) int64 into the split, on the CPU
    total: int  # samples of the whole batch, of which this is one process's share


class Loader:
    """Batches of a split. The order depends on (seed, epoch) alone, the augmentation on (seed, epoch, sample index).

    Images are decoded when the loader is made: damaged ones are dropped from the split (in place) and named in its
    `problems`. Worker processes live as long as the loader.

    Args:
        split: the images.
        preprocessing: how they become the network's input.
        batch_size: samples a batch; the last may be smaller.
        augment: applied one after another to the prepared uint8 images. Where one of them crops, images keep
            their aspect and size after the resizing (or before it, where the crop scales by itself), and the last crop
            must give `preprocessing.size`.
        shuffle: a new order every epoch; otherwise the split's.
        seed: of order and augmentation.
        device: of the batches; images in memory are kept there.
        workers: processes that decode where the images don't fit in memory; the values don't depend on it.
        drop_last: leave out a last batch that isn't full.
        balanced: every class equally often in an epoch; rare images are repeated, frequent ones left out.
        share: (rank, processes): the part of each batch that this process gets; it may be empty in a small last batch.
        check: decode images that don't fit in memory once when the loader is made. Without it a damaged image is
            left out of its batch, which is then smaller, and named in the split's `problems` when it is met. Of
            several processes each knows of its own only.
        on_progress: called with (done, total) while images are decoded.
        memory_limit_bytes: prepared images up to this size are kept in memory.

    Raises:
        UsageError: an argument out of range, or a crop of another size than `preprocessing.size`.
        ConvatlasError: no images, or more than half are damaged.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        augment: Sequence[Augmentation] = (),
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
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0), ("workers", workers, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; expected at least {least}")
        if len(split) == 0:
            raise ConvatlasError("there are no images to load; expected at least one")
        crop_sizes = [step.crop_size for step in augment if step.crop_size is not None]
        if crop_sizes and tuple(crop_sizes[-1]) != tuple(preprocessing.size):
            raise UsageError(f"the last crop gives {crop_sizes[-1]}; expected the network's input {preprocessing.size}")
        self.split = split
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.augment = tuple(augment)
        self.shuffle = shuffle
        self.seed = seed
        self.device = torch.device(device)
        self.workers = workers
        self.drop_last = drop_last
        self.balanced = balanced
        self.share = share
        self._draws = sum(step.draws for step in self.augment)
        self._images: Tensor | list[Tensor] | None = None
        self._framing: Framing = framing(self.augment)
        self._alone = steps_alone(self.augment, self.device)
        self._requests = Requests()
        self._in_workers: Iterable | None = None
        self._shared: SharedBuffers | None = None
        self._buffers = Buffers()
        if store.fits(split, preprocessing, framing=self._framing, limit_bytes=memory_limit_bytes):
            images = store.prepare_all(split, preprocessing, framing=self._framing, on_progress=on_progress)
            self._images = images.to(self.device) if isinstance(images, Tensor) else images
        else:
            sample_bytes = preprocessing.channels * preprocessing.size[0] * preprocessing.size[1]
            self.workers = workers_that_fit(workers, batch_size * sample_bytes)
            if check:
                store.check_all(split, on_progress)
        self._labels = split.labels.to(self.device)

    def __len__(self) -> int:
        """Steps an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full + bool(rest and not self.drop_last)

    @property
    def in_memory(self) -> bool:
        return self._images is not None

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on, so that a run can go on where it stopped."""
        order = self._order(epoch)[start_step * self.batch_size : len(self) * self.batch_size]
        if len(order) == 0:
            return iter(())
        whole = order.split(self.batch_size)
        rank, processes = self.share
        batches = [batch.tensor_split(processes)[rank] for batch in whole] if processes > 1 else whole
        totals = [len(batch) for batch in whole]
        if isinstance(self._images, Tensor):
            return self._from_stack(self._images, batches, totals, epoch)
        images = self.split if self._images is None else self._images
        return self._one_by_one(images, batches, totals, epoch)

    def _order(self, epoch: int) -> Tensor:
        if self.balanced:
            return balanced_order(self.split.labels, self.seed, epoch)
        n = len(self.split)
        return permutation(n, self.seed, epoch) if self.shuffle else torch.arange(n)

    def _from_stack(
        self, source_images: Tensor, batches: Sequence[Tensor], totals: Sequence[int], epoch: int
    ) -> Iterator[Batch]:
        height, width = self.preprocessing.size
        sample_bytes = 4 * self.preprocessing.channels * height * width
        together = max(1, _CHUNK_BYTES // (sample_bytes * max(len(batches[0]), 1)))
        draws = table(len(self.split), self._draws, self.seed, epoch) if self._draws else None
        for first in range(0, len(batches), together):
            chunk = batches[first : first + together]
            indices, sizes = torch.cat(list(chunk)), [len(batch) for batch in chunk]
            places = indices.to(self.device)
            images = source_images.index_select(0, places)
            if draws is not None and len(indices):
                images = apply(self.augment, images, draws[indices])
            if len(indices) == 0:
                images = images.new_empty(0, self.preprocessing.channels, height, width)
            images = normalise(images, self.preprocessing)
            yield from map(
                Batch,
                images.split(sizes),
                self._labels[places].split(sizes),
                chunk,
                totals[first : first + together],
            )

    def _assembled(self, images: list[Tensor] | Split, batches: Sequence[Tensor], epoch: int) -> Iterator[Assembled]:
        if self.workers and images is self.split:
            self._requests.epoch, self._requests.batches = epoch, batches
            if self._in_workers is None:
                if self.device.type == "cpu":
                    self._shared = SharedBuffers(self.workers, self.batch_size, self.preprocessing)
                self._in_workers = in_workers(
                    self._assembly(images),
                    self._requests,
                    workers=self.workers,
                    pin_memory=self.device.type == "cuda",
                )
            found = iter(self._in_workers)
        else:
            assembly = self._assembly(images)
            found = (assembly[epoch, tuple(batch.tolist())] for batch in batches)
        for item in found:
            if isinstance(item, ConvatlasError):
                raise item
            if item.slot is not None and self._shared is not None:
                item = replace(item, images=self._shared[item.slot][: len(item.indices)])
            yield item

    def _assembly(self, images: list[Tensor] | Split) -> Assembly:
        return Assembly(images, self.preprocessing, self._framing, self.augment, self._alone, self.seed, self._shared)

    def _one_by_one(
        self, source_images: list[Tensor] | Split, batches: Sequence[Tensor], totals: Sequence[int], epoch: int
    ) -> Iterator[Batch]:
        late = self.augment[self._alone :]
        for found, total in zip(self._assembled(source_images, batches, epoch), totals, strict=True):
            images = found.images.to(self.device, non_blocking=True)
            if late and len(images):
                images = apply(late, images, found.draws)
            if found.damaged:
                self._report(found.damaged)
                total -= len(found.damaged)
                if total == 0:
                    index, reason = found.damaged[0]
                    raise ConvatlasError(f"no image of a batch can be read; {self.split.name(index)}: {reason}")
            labels = self._labels[found.indices.to(self.device)]
            yield Batch(normalise(images, self.preprocessing, self._buffers.empty), labels, found.indices, total)

    def _report(self, damaged: Sequence[tuple[int, str]]) -> None:
        """Names what was met without a check; the split keeps its numbering."""
        for index, reason in damaged:
            problem = Problem(self.split.name(index), reason)
            if problem not in self.split.problems:
                self.split.problems.append(problem)
