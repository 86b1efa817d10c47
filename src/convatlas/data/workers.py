"""Samples assembled in this process or in worker processes, whose batches lie in memory that is shared once for all.

The pages of a new file for each batch take as long as a tenth of the decoding, and each tensor that travels by itself
is such a file. For a GPU batches travel by themselves, since they are pinned on arrival.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from convatlas.data.assembly import Assembly, Columns, DamagedError, Sample, SplitT, own_memory
from convatlas.data.batch import LabelsT
from convatlas.data.random import uniforms
from convatlas.errors import ConvatlasError

Request = tuple[int, tuple[int, ...]]  # epoch, indices

_SHARED_MEMORY = "/dev/shm"
_AHEAD = 2  # batches that a worker prepares before they are asked for
_LINE_BYTES = 64  # of a line of a processor's cache, at whose beginning a tensor begins
_SLACK_BYTES = 4096  # of a batch, for the beginnings of its tensors


class Form(NamedTuple):
    """Where a tensor lies in a place of `SharedBuffers`."""

    first: int  # byte
    shape: tuple[int, ...]
    dtype: torch.dtype


class Slot(NamedTuple):
    """A place of `SharedBuffers`."""

    worker: int
    place: int


@dataclass(frozen=True, slots=True)
class Assembled:
    """A batch as it comes from where it was read."""

    columns: Columns  # without values where they lie in a shared buffer
    indices: tuple[int, ...]
    damaged: tuple[tuple[int, str], ...]  # index and reason of those that had to be left out
    slot: Slot | None = None
    forms: tuple[Form, ...] = ()  # of images and targets

    def pin_memory(self) -> "Assembled":
        """Called by the DataLoader for a GPU, so that the copy to it does not wait."""
        targets = tuple(target.pin_memory() for target in self.columns.targets)
        return replace(self, columns=replace(self.columns, images=self.columns.images.pin_memory(), targets=targets))


class SharedBuffers:
    """Memory shared by a loader and its workers: (workers, places, bytes), used again and again.

    A worker has a place for each batch that it may be ahead, and one for the batch that the loader looks at.
    """

    def __init__(self, workers: int, batch_bytes: int) -> None:
        whole = (batch_bytes + _SLACK_BYTES) // _LINE_BYTES * _LINE_BYTES
        self._memory = torch.empty(workers, _AHEAD + 1, whole, dtype=torch.uint8).share_memory_()
        self._last = -1

    def next(self) -> "Writing":
        """Where the worker that asks puts its next batch."""
        worker = get_worker_info()
        assert worker is not None
        self._last = (self._last + 1) % (_AHEAD + 1)
        slot = Slot(worker.id, self._last)
        return Writing(slot, self._memory[slot])

    def read(self, slot: Slot, form: Form) -> Tensor:
        """What was written there; it stays until the loader asks for another batch."""
        return _view(self._memory[slot], form)


class Writing:
    """A place that a worker fills, tensor after tensor."""

    def __init__(self, slot: Slot, memory: Tensor) -> None:
        self.slot = slot
        self._memory = memory
        self._used = 0
        self._forms: dict[int, Form] = {}

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Shared memory; memory of the process where no room is left."""
        form = Form(self._used, tuple(shape), dtype)
        size = _size_bytes(form)
        if self._used + size > len(self._memory):
            return own_memory(shape, dtype)
        self._used += -(-size // _LINE_BYTES) * _LINE_BYTES
        tensor = _view(self._memory, form)
        self._forms[tensor.data_ptr()] = form
        return tensor

    def hand_over(self, assembled: Assembled) -> Assembled:
        """The batch without its values, if all of them are here."""
        columns = assembled.columns
        every = [self._form(tensor) for tensor in (columns.images, *columns.targets)]
        forms = tuple(form for form in every if form is not None)
        if len(forms) < len(every):
            return assembled
        return replace(assembled, columns=replace(columns, images=_NOTHING, targets=()), slot=self.slot, forms=forms)

    def _form(self, tensor: Tensor) -> Form | None:
        if tensor.numel() == 0:
            return Form(0, tuple(tensor.shape), tensor.dtype)
        return self._forms.get(tensor.data_ptr())


_NOTHING = torch.empty(0)


def _size_bytes(form: Form) -> int:
    return torch.Size(form.shape).numel() * form.dtype.itemsize


def _view(memory: Tensor, form: Form) -> Tensor:
    return memory[form.first : form.first + _size_bytes(form)].view(form.dtype).view(form.shape)


@dataclass(frozen=True, slots=True)
class Batches(Dataset[Assembled | ConvatlasError], Generic[SplitT, LabelsT]):
    """Item (epoch, indices) is the batch of these samples. It travels to worker processes.

    Args:
        assembly: of the samples.
        seed: of their random numbers.
        shared: where workers put batches; without, they travel.
    """

    assembly: Assembly[SplitT, LabelsT]
    seed: int
    shared: SharedBuffers | None = None

    def __getitem__(self, request: Request) -> Assembled | ConvatlasError:
        try:
            return self._assembled(*request)
        except ConvatlasError as error:  # would arrive from a worker with its traceback in the message
            return error

    def _assembled(self, epoch: int, wanted: Sequence[int]) -> Assembled:
        draws = uniforms(torch.tensor(wanted, dtype=torch.int64), self.assembly.draws, self.seed, epoch)
        samples: list[Sample] = []
        indices: list[int] = []
        damaged: list[tuple[int, str]] = []
        for index, row in zip(wanted, draws, strict=True):
            try:
                samples.append(self.assembly.sample(index, row))
            except DamagedError as error:
                damaged.append((index, str(error)))
            else:
                indices.append(index)
        writing = self.shared.next() if self.shared is not None else None
        columns = self.assembly.collate(samples, writing.empty if writing is not None else own_memory)
        assembled = Assembled(columns, tuple(indices), tuple(damaged))
        return assembled if writing is None else writing.hand_over(assembled)


class Requests(Sampler[Request]):
    """What a loader asks its workers for; set anew for each epoch, so that the workers outlive it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.batches: Sequence[Tensor] = ()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Request]:
        return ((self.epoch, tuple(batch.tolist())) for batch in self.batches)


def in_workers(
    batches: Dataset[Assembled | ConvatlasError], requests: Requests, *, workers: int, pin_memory: bool
) -> Iterable[Assembled | ConvatlasError]:
    return DataLoader(
        batches,
        batch_size=None,  # an item is a batch
        sampler=requests,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        persistent_workers=True,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # the loop's own random numbers must not depend on the number of workers
    )


def workers_that_fit(workers: int, batch_bytes: int) -> int:
    """The number of workers, or 0 where /dev/shm has no room for the batches that they prepare ahead.

    A container often has 64 MB there, and writing beyond ends a process without a word.
    """
    try:
        space = os.statvfs(_SHARED_MEMORY)
    except (OSError, AttributeError):  # another system
        return workers
    needed = workers * (_AHEAD + 1) * batch_bytes
    if not workers or needed <= space.f_bavail * space.f_frsize:
        return workers
    room = space.f_bavail * space.f_frsize
    warnings.warn(
        f"{_SHARED_MEMORY} has {room:,} bytes of room, {workers} workers need {needed:,}; the "
        "images are read by the training process itself: make it larger (docker run --shm-size) or the batch smaller",
        stacklevel=2,
    )
    return 0
