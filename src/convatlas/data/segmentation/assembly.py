"""Images with a mask each, in windows of one size."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convatlas.data.assembly import Assembly, Columns, Empty, Reading, Sample, generator_of
from convatlas.data.segmentation.augment import MaskAugmentation, Pair
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.data.segmentation.transform import MaskTransform
from convatlas.data.store import Kept, check_all, files_fit, survey
from convatlas.records import Preprocessing

READ_FIRST = 2000  # images of a split that are all read before the first epoch


class MaskAssembly(Assembly[MaskSplit, Tensor]):
    """Images (B, C, h, w) and masks (B, h, w) int64, 255 is void.

    Images and masks that fit are kept in memory, as they are before the augmentation.

    Args:
        split: the images.
        preprocessing: its `size` is the window that is cut out.
        augment: applied to image and mask together; None: nothing is drawn, and the window is the middle.
        margin_px: by which the network's output is smaller than its input on each side.
    """

    takes_empty_shares = False

    def __init__(
        self,
        split: MaskSplit,
        preprocessing: Preprocessing,
        augment: Sequence[MaskAugmentation] | None = (),
        *,
        margin_px: int = 0,
    ) -> None:
        super().__init__(split, preprocessing)
        self.draws = 0 if augment is None else 1
        self._transform = MaskTransform(preprocessing, tuple(augment or ()), margin_px)
        self._images: Kept | None = None
        self._masks = Kept()

    @property
    def augments(self) -> bool:
        return self.draws > 0

    @property
    def sample_bytes(self) -> int:
        height, width = self.preprocessing.size
        return (self.preprocessing.channels + 1) * height * width

    def prepare(self, reading: Reading) -> None:
        if files_fit(self.split.paths, self._bytes_of, reading.memory_limit_bytes):
            self._images = Kept()
            for image, mask in survey(self.split, self._read_shaped, reading.on_progress):
                self._images.append(image)
                self._masks.append(mask)
        elif reading.check and len(self.split) <= READ_FIRST:
            check_all(self.split, self.split.read_pair, reading.on_progress)
        self.in_memory = self._images is not None

    def sample(self, index: int, draws: Tensor) -> Sample:
        if self._images is None:
            image, mask = self._transform.shape(*self.read(self.split.read_pair, index))
        else:
            image, mask = self._images[index], self._masks[index]
        image, mask = self._transform.cut(image, mask, generator_of(draws) if self.augments else None)
        return Sample(image, (mask,))

    def labels(self, columns: Columns, indices: Tensor, empty: Empty) -> Tensor:
        (masks,) = columns.targets
        return empty(masks.shape, torch.int64).copy_(masks) if masks.device.type == "cpu" else masks.long()

    def _read_shaped(self, index: int) -> Pair:
        return self._transform.shape(*self.split.read_pair(index))

    def _bytes_of(self, height: int, width: int) -> int:
        height, width = self._transform.shaped_size(height, width)
        return (self.preprocessing.channels + 1) * height * width
