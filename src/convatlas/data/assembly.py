"""Batches of pictures that are read or cropped one by one, in this process or in worker processes.

A picture is read, brought into shape and cropped by itself. Once all have one size they travel as uint8, and for a GPU
what is left of the augmentation is done there, on the batch. For the CPU all of it is done picture by picture: what
fits into a processor's cache is mirrored six times as fast.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from convatlas.data.augment import Augmentation
from convatlas.data.preprocess import Framing, needed_side, shape
from convatlas.data.random import uniforms
from convatlas.data.splits import Split
from convatlas.structures import ConvatlasError, Preprocessing

Request = tuple[int, tuple[int, ...]]  # epoch, indices


@dataclass(frozen=True, slots=True)
class Assembled:
    """B pictures of one size, cropped, and what is still to be done."""

    images: Tensor  # (B, C, H, W)
    indices: Tensor  # (B,) int64
    draws: Tensor  # (B, d) of the augmentations that are left
    damaged: tuple[tuple[int, str], ...]  # index and reason of those that had to be left out

    def pin_memory(self) -> "Assembled":
        """Called by the DataLoader for a GPU, so that the copy to it does not wait."""
        return replace(self, images=self.images.pin_memory())


@dataclass(frozen=True, slots=True)
class Assembly(Dataset):
    """Item (epoch, indices) is the batch of these pictures. It travels to worker processes.

    Args:
        pictures: in shape already, or to be read.
        preprocessing: how those that are read come into shape.
        framing: what the first crop needs.
        augment: all augmentations.
        alone: how many of them are done here, at least up to the last crop.
        seed: of their draws.
    """

    pictures: list[Tensor] | Split
    preprocessing: Preprocessing
    framing: Framing
    augment: tuple[Augmentation, ...]
    alone: int
    seed: int

    def __getitem__(self, request: Request) -> Assembled | ConvatlasError:
        try:
            return self._assembled(*request)
        except ConvatlasError as error:  # would arrive from a worker with its traceback in the message
            return error

    def _assembled(self, epoch: int, wanted: Sequence[int]) -> Assembled:
        alone = self.augment[: self.alone]
        total, early = (sum(step.draws for step in steps) for steps in (self.augment, alone))
        u = uniforms(torch.tensor(wanted, dtype=torch.int64), total, self.seed, epoch)
        images: list[Tensor] = []
        kept: list[int] = []
        damaged: list[tuple[int, str]] = []
        for place, index in enumerate(wanted):
            try:
                image = self._picture(index)
            except _DamagedError as error:
                damaged.append((index, str(error)))
                continue
            images.append(apply(alone, image[None], u[place : place + 1, :early]))
            kept.append(place)
        blank = torch.empty(0, self.preprocessing.channels, *self.preprocessing.size, dtype=torch.uint8)
        indices = torch.tensor([wanted[place] for place in kept], dtype=torch.int64)
        return Assembled(torch.cat(images) if images else blank, indices, u[kept, early:], tuple(damaged))

    def _picture(self, index: int) -> Tensor:
        if isinstance(self.pictures, list):
            return self.pictures[index]
        try:
            image = self.pictures.read(index, needed_side(self.preprocessing, self.framing))
        except ConvatlasError as error:
            raise _DamagedError(str(error.__cause__ or error)) from error
        return shape(image, self.preprocessing, self.framing)


class _DamagedError(Exception):
    """One picture, in contrast to a wrong argument."""


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
        persistent_workers=True,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # the loop's own random numbers must not depend on the number of workers
    )


def steps_alone(augment: Sequence[Augmentation], device: torch.device) -> int:
    """How many augmentations are done picture by picture: on a GPU those up to the last crop."""
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
