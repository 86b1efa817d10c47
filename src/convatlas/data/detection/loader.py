"""Batches of images with their objects, with the surface of `data.Loader`.

Boxes move with the images. The order depends on (seed, epoch), a sample's augmentation on (seed, epoch, index).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from convatlas.data import store
from convatlas.data.assembly import Request, Requests
from convatlas.data.detection.placing import Placement, place, shape
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.preprocess import normalise
from convatlas.data.random import permutation, uniforms
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Objects, Preprocessing, Problem

Augmentation = Callable[[Tensor, Objects, torch.Generator], tuple[Tensor, Objects]]
"""uint8 (C, H, W), what is marked on it, and where its random numbers come from; before it is resized."""

_SEEDS = 1 << 53  # what a uniform number in float64 tells apart


@dataclass(frozen=True, slots=True)
class DetectionBatch:
    """B samples, ready for the network."""

    images: Tensor  # (B, C, H, W) float32, on the loader's device
    labels: list[Objects]  # in the pixels of `images`, on the loader's device
    indices: Tensor  # (B,) int64 into the split, on the CPU
    total: int  # samples of the whole batch, of which this is one process's share
    placements: list[Placement]  # how detections get back into the images' own pixels


class DetectionLoader:
    """Batches of a split of marked images.

    Images are decoded when the loader is made where they fit in memory, and then kept: as they are where they are to
    be augmented, else in the network's size. Damaged ones are dropped from the split (in place) and named in its
    `problems`. Where they don't fit, a damaged one is left out of its batch and named when it is met.

    Args:
        split: the images.
        preprocessing: how they become the network's input; `placing.place` says what its resizing means here.
        batch_size: samples a batch; the last may be smaller.
        augment: applied one after another to the image and its objects, before the resizing.
        shuffle: a new order every epoch; otherwise the split's.
        seed: of order and augmentation.
        device: of the batches.
        workers: processes that read, augment and resize; the values don't depend on it.
        drop_last: leave out a last batch that isn't full.
        share: (rank, processes): the part of each batch that this process gets; it may be empty in a small last batch.
        check: where the images don't fit in memory, decode them all once when the loader is made, and drop the
            damaged ones then.
        on_progress: called with (done, total) while images are decoded.
        memory_limit_bytes: images up to this size are kept in memory.

    Raises:
        UsageError: an argument out of range.
        ConvatlasError: no images, or more than half are damaged.
    """

    def __init__(
        self,
        split: DetectionSplit,
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        augment: Sequence[Augmentation] = (),
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        workers: int = 0,
        drop_last: bool = False,
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
        self.split = split
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.augment = tuple(augment)
        self.shuffle = shuffle
        self.seed = seed
        self.device = torch.device(device)
        self.workers = workers
        self.drop_last = drop_last
        self.share = share
        self._images: list[Tensor] | None = None
        self._requests = Requests()
        self._in_workers: Iterable | None = None
        if self._bytes() <= memory_limit_bytes:
            self._images = self._read_all(on_progress, keep=True)
        elif check:
            self._read_all(on_progress, keep=False)

    def __len__(self) -> int:
        """Steps an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full + bool(rest and not self.drop_last)

    @property
    def in_memory(self) -> bool:
        return self._images is not None

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[DetectionBatch]:
        """The batches of an epoch from `start_step` on, so that a run can go on where it stopped."""
        n = len(self.split)
        order = permutation(n, self.seed, epoch) if self.shuffle else torch.arange(n)
        order = order[start_step * self.batch_size : len(self) * self.batch_size]
        if len(order) == 0:
            return
        whole = order.split(self.batch_size)
        rank, processes = self.share
        batches = [batch.tensor_split(processes)[rank] for batch in whole]
        for samples, batch in zip(self._samples(epoch, batches), whole, strict=True):
            yield self._batch(samples, len(batch))

    def _bytes(self) -> int:
        def size(image: tuple[int, int]) -> tuple[int, int]:
            return image if self.augment else place(image, self.preprocessing).size

        sides = (size(page.size) for page in self.split.pages)
        return sum(self.preprocessing.channels * height * width for height, width in sides)

    def _read_all(self, on_progress: store.Progress | None, *, keep: bool) -> list[Tensor]:
        """Every whole image, in the shape in which it is kept, the damaged ones dropped."""
        images: list[Tensor] = []
        damaged: dict[int, str] = {}
        for index in range(len(self.split)):
            try:
                image, _ = self.split.read(index)
            except ConvatlasError as error:
                damaged[index] = str(error.__cause__ or error)
                continue
            if keep:
                where = place((image.shape[1], image.shape[2]), self.preprocessing)
                images.append(image if self.augment else shape(image, self.preprocessing, where))
            if on_progress is not None:
                on_progress(index + 1, len(self.split))
        if damaged:
            self.split.drop(damaged)
        return images

    def _samples(self, epoch: int, batches: Sequence[Tensor]) -> Iterator["_Samples"]:
        assembly = _Assembly(self.split, self._images, self.preprocessing, self.augment, self.seed)
        if self.workers and (self.augment or self._images is None):
            self._requests.epoch, self._requests.batches = epoch, batches
            if self._in_workers is None:
                self._in_workers = DataLoader(
                    assembly,
                    batch_size=None,  # an item is a batch
                    sampler=self._requests,
                    num_workers=self.workers,
                    persistent_workers=True,
                    pin_memory=self.device.type == "cuda",
                    generator=torch.Generator(),  # the loop's own random numbers don't depend on the workers
                )
            found: Iterable[_Samples | ConvatlasError] = self._in_workers
        else:
            found = (assembly[epoch, tuple(batch.tolist())] for batch in batches)
        for samples in found:
            if isinstance(samples, ConvatlasError):
                raise samples
            yield samples

    def _batch(self, samples: "_Samples", total: int) -> DetectionBatch:
        for index, reason in samples.damaged:
            problem = Problem(self.split.name(index), reason)
            if problem not in self.split.problems:
                self.split.problems.append(problem)
        if len(samples.damaged) == total:
            index, reason = samples.damaged[0]
            raise ConvatlasError(f"no image of a batch can be read; {self.split.name(index)}: {reason}")
        images = [
            normalise(image[None].to(self.device, non_blocking=True), self.preprocessing)[0] for image in samples.images
        ]
        labels = [on(objects, self.device) for objects in samples.objects]
        indices = torch.tensor(samples.indices, dtype=torch.int64)
        stack = padded(images, self.preprocessing)
        return DetectionBatch(stack, labels, indices, total - len(samples.damaged), samples.placements)


def on(objects: Objects, device: torch.device) -> Objects:
    """The same objects on a device."""
    masks = None if objects.masks is None else objects.masks.to(device)
    return Objects(objects.boxes.to(device), objects.labels.to(device), objects.difficult.to(device), masks)


def padded(images: Sequence[Tensor], preprocessing: Preprocessing) -> Tensor:
    """Normalised images (C, h, w) in the upper left of one batch (B, C, H, W); what is left free is 0, the mean."""
    if not images:
        return torch.empty(0, preprocessing.channels, *preprocessing.size)
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    return torch.stack([F.pad(im, (0, width - im.shape[2], 0, height - im.shape[1])) for im in images])


@dataclass(frozen=True, slots=True)
class _Samples:
    images: list[Tensor]  # uint8 (C, h, w), in the network's size
    objects: list[Objects]
    placements: list[Placement]
    indices: list[int]
    damaged: list[tuple[int, str]]  # index and reason of those that had to be left out

    def pin_memory(self) -> "_Samples":
        """Called by the DataLoader for a GPU."""
        return replace(self, images=[image.pin_memory() for image in self.images])


@dataclass(frozen=True, slots=True)
class _Assembly(Dataset):
    """Item (epoch, indices) is the batch of these images. It travels to worker processes."""

    split: DetectionSplit
    images: list[Tensor] | None
    preprocessing: Preprocessing
    augment: tuple[Augmentation, ...]
    seed: int

    def __getitem__(self, request: Request) -> _Samples | ConvatlasError:
        try:
            return self._samples(*request)
        except ConvatlasError as error:  # would arrive from a worker with its traceback in the message
            return error

    def _samples(self, epoch: int, wanted: Sequence[int]) -> _Samples:
        found = _Samples([], [], [], [], [])
        draws = uniforms(torch.tensor(wanted, dtype=torch.int64), 1, self.seed, epoch)[:, 0]
        for index, draw in zip(wanted, draws.tolist(), strict=True):
            try:
                image, objects, where = self._sample(index, torch.Generator().manual_seed(int(draw * _SEEDS)))
            except _DamagedError as error:
                found.damaged.append((index, str(error)))
                continue
            found.images.append(image)
            found.objects.append(where.to_input(objects))
            found.placements.append(where)
            found.indices.append(index)
        return found

    def _sample(self, index: int, generator: torch.Generator) -> tuple[Tensor, Objects, Placement]:
        if self.images is not None and not self.augment:
            where = place(self.split.pages[index].size, self.preprocessing)
            return self.images[index], self.split.objects(index), where
        if self.images is not None:
            image, objects = self.images[index], self.split.objects(index)
        else:
            try:
                image, objects = self.split.read(index)
            except ConvatlasError as error:
                raise _DamagedError(str(error.__cause__ or error)) from error
        for step in self.augment:
            image, objects = step(image, objects, generator)
        where = place((image.shape[1], image.shape[2]), self.preprocessing)
        return shape(image, self.preprocessing, where), objects, where


class _DamagedError(Exception):
    """One image, in contrast to a wrong argument."""
