"""Batches of images that are read or cropped one by one, in this process or in worker processes.

An image is read, brought into shape and cropped by itself. Once all have one size they travel as uint8, and for a GPU
what is left of the augmentation is done there, on the batch. For the CPU all of it is done image by image: what
fits into a processor's cache is mirrored six times as fast. There workers put the batches into memory that is shared
once and for all, because the pages of a new file for each batch take as long as a tenth of the decoding.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from convatlas.data.augment import Augmentation
from convatlas.data.preprocess import Framing, needed_side, shape
from convatlas.data.random import uniforms
from convatlas.data.splits import Split
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing

Request = tuple[int, tuple[int, ...]]  # epoch, indices

Slot = tuple[int, int]  # worker, place

_SHARED_MEMORY = "/dev/shm"
_AHEAD = 2  # batches that a worker prepares before they are asked for


@dataclass(frozen=True, slots=True)
class Assembled:
    """B images of one size, cropped, and what is still to be done."""

    images: Tensor  # (B, C, H, W); (0, C, H, W) where they lie in a shared buffer
    indices: Tensor  # (B,) int64
    draws: Tensor  # (B, d) of the augmentations that are left
    damaged: tuple[tuple[int, str], ...]  # index and reason of those that had to be left out
    slot: Slot | None = None

    def pin_memory(self) -> "Assembled":
        """Called by the DataLoader for a GPU, so that the copy to it does not wait."""
        return replace(self, images=self.images.pin_memory())


class SharedBuffers:
    """Memory shared by a loader and its workers: (workers, places, B, C, H, W) uint8, used again and again.

    A worker has a place for each batch that it may be ahead, and one for the batch that the loader looks at.
    """

    def __init__(self, workers: int, batch_size: int, preprocessing: Preprocessing) -> None:
        shape = (workers, _AHEAD + 1, batch_size, preprocessing.channels, *preprocessing.size)
        self._memory = torch.empty(shape, dtype=torch.uint8).share_memory_()
        self._last = -1

    def next(self) -> Slot:
        """Where the worker that asks puts its next batch."""
        worker = get_worker_info()
        assert worker is not None
        self._last = (self._last + 1) % (_AHEAD + 1)
        return worker.id, self._last

    def __getitem__(self, slot: Slot) -> Tensor:
        """(B, C, H, W); what the loader finds there stays until it asks for another batch."""
        return self._memory[slot]


@dataclass(frozen=True, slots=True)
class Assembly(Dataset):
    """Item (epoch, indices) is the batch of these images. It travels to worker processes.

    Args:
        images: in shape already, or to be read.
        preprocessing: how those that are read come into shape.
        framing: what the first crop needs.
        augment: all augmentations.
        alone: how many of them are done here, at least up to the last crop.
        seed: of their draws.
        shared_buffers: where workers put the images; without, they travel.
    """

    images: list[Tensor] | Split
    preprocessing: Preprocessing
    framing: Framing
    augment: tuple[Augmentation, ...]
    alone: int
    seed: int
    shared_buffers: SharedBuffers | None = None

    def __getitem__(self, request: Request) -> Assembled | ConvatlasError:
        try:
            return self._assembled(*request)
        except ConvatlasError as error:  # would arrive from a worker with its traceback in the message
            return error

    def _assembled(self, epoch: int, wanted: Sequence[int]) -> Assembled:
        alone = self.augment[: self.alone]
        total, early = (sum(step.draws for step in steps) for steps in (self.augment, alone))
        u = uniforms(torch.tensor(wanted, dtype=torch.int64), total, self.seed, epoch)
        images = torch.empty(0, self.preprocessing.channels, *self.preprocessing.size, dtype=torch.uint8)
        slot: Slot | None = None
        kept: list[int] = []
        damaged: list[tuple[int, str]] = []
        for place, index in enumerate(wanted):
            try:
                image = self._image(index)
            except _DamagedError as error:
                damaged.append((index, str(error)))
                continue
            image = apply(alone, image[None], u[place : place + 1, :early])[0]
            if not kept and self.shared_buffers is not None and image.dtype == torch.uint8:
                slot = self.shared_buffers.next()
                images = self.shared_buffers[slot]
            elif not kept:
                images = image.new_empty(len(wanted), *image.shape)
            images[len(kept)] = image
            kept.append(place)
        indices = torch.tensor([wanted[place] for place in kept], dtype=torch.int64)
        images = images[: len(kept) if slot is None else 0]
        return Assembled(images, indices, u[kept, early:], tuple(damaged), slot)

    def _image(self, index: int) -> Tensor:
        if isinstance(self.images, list):
            return self.images[index]
        try:
            image = self.images.read(index, needed_side(self.preprocessing, self.framing))
        except ConvatlasError as error:
            raise _DamagedError(str(error.__cause__ or error)) from error
        return shape(image, self.preprocessing, self.framing)


class _DamagedError(Exception):
    """One image, in contrast to a wrong argument."""


class Requests(Sampler[Request]):
    """What a loader asks its workers for; set anew for each epoch, so that the workers outlive it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.batches: Sequence[Tensor] = ()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Request]:
        return ((self.epoch, tuple(batch.tolist())) for batch in self.batches)


def in_workers(assembly: Dataset, requests: Requests, *, workers: int, pin_memory: bool) -> Iterable:
    return DataLoader(
        assembly,
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


def steps_alone(augment: Sequence[Augmentation], device: torch.device) -> int:
    """How many augmentations are done image by image: on a GPU those up to the last crop."""
    if device.type == "cpu":
        return len(augment)
    return max((place + 1 for place, step in enumerate(augment) if step.crop_size is not None), default=0)


def framing(augment: Sequence[Augmentation]) -> Framing:
    """What the first crop needs."""
    first = next((step for step in augment if step.crop_size is not None), None)
    if first is None:
        return "whole"
    return "native" if first.native else "crop"


def apply(augment: Sequence[Augmentation], images: Tensor, u: Tensor) -> Tensor:
    """One augmentation after another, each with its own columns of u: (B, C, H, W), (B, draws) -> (B, C, h, w)"""
    start = 0
    for step in augment:
        images = step(images, u[:, start : start + step.draws])
        start += step.draws
    return images
