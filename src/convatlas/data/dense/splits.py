"""Pictures with a mask each, in files."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convatlas.data.dense.classes import MaskClasses
from convatlas.data.encoded import FileSplit
from convatlas.structures import ConvatlasError, Problem


class MaskSplit(FileSplit):
    """Pictures and their masks, in two lists of files in the same order.

    The `labels` that a split has are all 0: its pictures are not of one class each.
    """

    def __init__(
        self, paths: Sequence[str], masks: Sequence[str], classes: MaskClasses, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(paths, torch.zeros(len(paths), dtype=torch.int64), problems)
        self.masks = tuple(masks)
        self.classes = classes

    def read_pair(self, index: int) -> tuple[Tensor, Tensor]:
        """uint8 (C, H, W) and its mask, uint8 (H, W) with 255 for void.

        Raises:
            ConvatlasError: one of the two is damaged, or they differ in size; the message names the file.
        """
        image = self.read(index)
        try:
            mask = self.classes.decode(self.masks[index])
        except ConvatlasError as error:
            raise ConvatlasError(f"{self.masks[index]}: {error}") from error
        if mask.shape != image.shape[1:]:
            (h, w), (height, width) = mask.shape, image.shape[1:]
            raise ConvatlasError(f"{self.masks[index]} is {h} x {w}, its picture {height} x {width}; expected one size")
        return image, mask

    def _chosen(self, indices: Tensor) -> "MaskSplit":
        chosen = indices.tolist()
        return MaskSplit([self.paths[i] for i in chosen], [self.masks[i] for i in chosen], self.classes)

    def _keep(self, indices: Tensor) -> None:
        super()._keep(indices)
        self.masks = tuple(self.masks[i] for i in indices.tolist())
