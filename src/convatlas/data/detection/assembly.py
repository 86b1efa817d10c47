"""Images with their objects, whose boxes and masks move with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convatlas.data.assembly import Assembly, Columns, Empty, Reading, Sample, concatenate, generator_of, stack
from convatlas.data.detection.placing import Placement, place, shape
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.store import Kept, check_all, survey
from convatlas.records import Objects, Preprocessing

Augmentation = Callable[[Tensor, Objects, torch.Generator], tuple[Tensor, Objects]]
"""uint8 (C, H, W), its objects, and where its random numbers come from; before it is resized."""

_OBJECT_BYTES = 4096  # of an image's objects without masks: a hundred


class BoxAssembly(Assembly[DetectionSplit, list[Objects]]):
    """Images (B, C, H, W) and B `Objects` in their pixels.

    Where they fit, images are kept in memory: as they are where they are to be augmented, else in the network's size.

    Args:
        split: the images.
        preprocessing: how they become the network's input; `placing.place` says what its resizing means here.
        augment: applied one after another to the image and its objects, before the resizing.
    """

    def __init__(
        self, split: DetectionSplit, preprocessing: Preprocessing, augment: Sequence[Augmentation] = ()
    ) -> None:
        super().__init__(split, preprocessing)
        self.augment = tuple(augment)
        self.draws = 1 if augment else 0
        self._images: Kept | None = None

    @property
    def augments(self) -> bool:
        return bool(self.augment)

    @property
    def sample_bytes(self) -> int:
        largest = self.preprocessing.size
        if self.preprocessing.resize == "short_side":
            largest = (max(largest), max(largest))
        elif self.preprocessing.resize == "none":
            largest = (0, 0) if self.augment else (max(side) for side in zip(*self._sizes(), strict=True))
        height, width = largest
        return self.preprocessing.channels * height * width + _OBJECT_BYTES

    def prepare(self, reading: Reading) -> None:
        channels = self.preprocessing.channels
        needed = sum(channels * height * width for height, width in self._sizes())
        if needed <= reading.memory_limit_bytes:
            self._images = Kept(survey(self.split, self._kept_image, reading.on_progress))
        elif reading.check:
            check_all(self.split, self.split.read, reading.on_progress)
        self.in_memory = self._images is not None
        self.uses_workers = bool(self.augment) or not self.in_memory

    def sample(self, index: int, draws: Tensor) -> Sample:
        image, objects, placement = self._placed(index, draws)
        objects = placement.to_input(objects)
        masks = () if objects.masks is None else (objects.masks,)
        return Sample(image, (objects.boxes, objects.labels, objects.difficult, *masks))

    def collate(self, samples: Sequence[Sample], empty: Empty) -> Columns:
        if not samples:
            return super().collate(samples, empty)
        images = stack([sample.image for sample in samples], empty)
        targets = zip(*(sample.targets for sample in samples), strict=True)
        counts = tuple(len(sample.targets[0]) for sample in samples)
        sizes = tuple((sample.image.shape[1], sample.image.shape[2]) for sample in samples)
        columns = Columns(images, tuple(concatenate(target, empty) for target in targets), counts=counts)
        return columns if len(set(sizes)) == 1 else replace(columns, sizes=sizes)

    def labels(self, columns: Columns, indices: Tensor, empty: Empty) -> list[Objects]:
        if not columns.targets:
            return []
        boxes, labels, difficult, *masks = (target.split(columns.counts) for target in columns.targets)
        if not masks:
            return [Objects(*rows) for rows in zip(boxes, labels, difficult, strict=True)]
        (masks_of,) = masks
        if columns.sizes:
            masks_of = [own[:, :h, :w].contiguous() for own, (h, w) in zip(masks_of, columns.sizes, strict=True)]
        return [Objects(*rows) for rows in zip(boxes, labels, difficult, masks_of, strict=True)]

    def _sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each image as it is kept."""
        pages = self.split.pages
        return [page.size if self.augment else place(page.size, self.preprocessing).size for page in pages]

    def _kept_image(self, index: int) -> Tensor:
        image, _ = self.split.read(index)
        return image if self.augment else self._shaped(image)[0]

    def _placed(self, index: int, draws: Tensor) -> tuple[Tensor, Objects, Placement]:
        if self._images is not None and not self.augment:
            placement = place(self.split.pages[index].size, self.preprocessing)
            return self._images[index], self.split.objects(index), placement
        if self._images is not None:
            image, objects = self._images[index], self.split.objects(index)
        else:
            image, objects = self.read(self.split.read, index)
        if self.augment:
            generator = generator_of(draws)
            for step in self.augment:
                image, objects = step(image, objects, generator)
        image, placement = self._shaped(image)
        return image, objects, placement

    def _shaped(self, image: Tensor) -> tuple[Tensor, Placement]:
        placement = place((image.shape[1], image.shape[2]), self.preprocessing)
        return shape(image, self.preprocessing, placement), placement
