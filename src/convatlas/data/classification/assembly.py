"""Images with a label each.

Prepared images that have one size and fit in memory are a stack, from which whole batches are gathered, augmented and
normalised at once. Otherwise an image is read, brought into shape and cropped by itself. For a GPU what is left of the
augmentation is done there, on the batch; for the CPU all of it is done image by image: what fits into a processor's
cache is mirrored six times as fast.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.data import store
from convatlas.data.assembly import Assembly, Columns, Empty, Reading, Sample
from convatlas.data.augment import Augmentation
from convatlas.data.preprocess import Framing, needed_side, normalise, shape
from convatlas.data.splits import Split
from convatlas.errors import UsageError
from convatlas.records import Preprocessing


class LabelAssembly(Assembly[Split, Tensor]):
    """Images (B, C, H, W) and labels (B,) int64.

    Args:
        split: the images.
        preprocessing: how they become the network's input.
        augment: applied one after another to the prepared uint8 images. Where one of them crops, images keep
            their aspect and size after the resizing (or before it, where the crop scales by itself), and the last crop
            must give `preprocessing.size`.

    Raises:
        UsageError: a crop of another size than `preprocessing.size`.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing, augment: Sequence[Augmentation] = ()) -> None:
        super().__init__(split, preprocessing)
        crop_sizes = [step.crop_size for step in augment if step.crop_size is not None]
        if crop_sizes and tuple(crop_sizes[-1]) != tuple(preprocessing.size):
            raise UsageError(f"the last crop gives {crop_sizes[-1]}; expected the network's input {preprocessing.size}")
        self.augment = tuple(augment)
        self.draws = sum(step.draws for step in self.augment)
        self._framing: Framing = framing(self.augment)
        self._images: Tensor | list[Tensor] | None = None
        self._labels = split.labels
        self._by_itself = len(self.augment)  # augmentations that are done image by image

    @property
    def augments(self) -> bool:
        return bool(self.augment)

    @property
    def sample_bytes(self) -> int:
        return self.preprocessing.channels * self.preprocessing.size[0] * self.preprocessing.size[1]

    def prepare(self, reading: Reading) -> "_ImageStack | None":
        split, preprocessing, device = self.split, self.preprocessing, reading.device
        if device.type != "cpu":
            self._by_itself = up_to_last_crop(self.augment)
        limit = reading.memory_limit_bytes
        if store.fits(split, preprocessing, framing=self._framing, limit_bytes=limit):
            progress = reading.on_progress
            images = store.prepare_all(split, preprocessing, framing=self._framing, on_progress=progress)
            self._images = images.to(device) if isinstance(images, Tensor) else images
        elif reading.check:
            store.check_all(split, lambda index: split.read(index, 1), reading.on_progress)  # as small as may be
        self.in_memory, self.uses_workers = self._images is not None, self._images is None
        self._labels = split.labels.to(device)
        if not isinstance(self._images, Tensor):
            return None
        return _ImageStack(self._images, self._labels, self.augment, preprocessing)

    def sample(self, index: int, draws: Tensor) -> Sample:
        early = self.augment[: self._by_itself]
        drawn = sum(step.draws for step in early)
        image = apply(early, self._image(index)[None], draws[None, :drawn])[0]
        return Sample(image, draws=draws[drawn:] if self._by_itself < len(self.augment) else None)

    def finish_images(self, columns: Columns) -> Tensor:
        if columns.draws is None:
            return columns.images
        return apply(self.augment[self._by_itself :], columns.images, columns.draws)

    def labels(self, columns: Columns, indices: Tensor, empty: Empty) -> Tensor:
        return self._labels[indices.to(self._labels.device)]

    def _image(self, index: int) -> Tensor:
        if self._images is not None:
            return self._images[index]
        side = needed_side(self.preprocessing, self._framing)
        image = self.read(lambda index: self.split.read(index, side), index)
        return shape(image, self.preprocessing, self._framing)


@dataclass(frozen=True, slots=True)
class _ImageStack:
    images: Tensor  # uint8 (N, C, H, W)
    labels: Tensor  # (N,)
    augment: tuple[Augmentation, ...]
    preprocessing: Preprocessing

    def gather(self, batches: Sequence[Tensor], draws: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        indices, sizes = torch.cat(list(batches)), [len(batch) for batch in batches]
        places = indices.to(self.images.device)
        images = self.images.index_select(0, places)
        if self.augment and len(indices):
            images = apply(self.augment, images, draws[indices])
        if len(indices) == 0:
            images = images.new_empty(0, self.preprocessing.channels, *self.preprocessing.size)
        images = normalise(images, self.preprocessing)
        return zip(images.split(sizes), self.labels[places].split(sizes), strict=True)


def framing(augment: Sequence[Augmentation]) -> Framing:
    """What the first crop needs."""
    first = next((step for step in augment if step.crop_size is not None), None)
    if first is None:
        return "whole"
    return "native" if first.native else "crop"


def up_to_last_crop(augment: Sequence[Augmentation]) -> int:
    """How many augmentations there are up to the last crop: before, images differ in size."""
    return max((place + 1 for place, step in enumerate(augment) if step.crop_size is not None), default=0)


def apply(augment: Sequence[Augmentation], images: Tensor, u: Tensor) -> Tensor:
    """One augmentation after another, each with its own columns of u: (B, C, H, W), (B, draws) -> (B, C, h, w)"""
    start = 0
    for step in augment:
        images = step(images, u[:, start : start + step.draws])
        start += step.draws
    return images
