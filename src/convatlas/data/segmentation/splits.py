"""Images with a mask each, in files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from convatlas.data.decode import exif_orientation
from convatlas.data.encoded import FileSplit
from convatlas.data.segmentation.classes import MaskClasses
from convatlas.data.segmentation.reading import MaskFile, read_mask
from convatlas.errors import ConvatlasError
from convatlas.records import Problem


class TurnedError(ConvatlasError):
    """An image that is shown turned, and a mask of which nobody knows whether it is."""


class Pair(NamedTuple):
    """An image with its mask, and how EXIF turned the image."""

    image: Tensor  # uint8 (C, H, W)
    mask: Tensor  # uint8 (H, W), 255 is void
    orientation: int


class MaskSplit(FileSplit):
    """Images and their masks, in two lists of files in the same order.

    The `labels` that a split has are all 0: its images are not of one class each.
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
            ConvatlasError: one of the two is damaged, they differ in size, or one is turned and the other is not; the
                message names the file.
        """
        pair = self.read_turned(index)
        return pair.image, pair.mask

    def read_turned(self, index: int) -> Pair:
        """As `read_pair`, and how the image is turned by EXIF."""
        image = self.read(index)
        orientation = exif_orientation(self.encoded(index))
        try:
            file = read_mask(self.masks[index])
            mask = self.classes.look_up(_lay(file, orientation, (image.shape[1], image.shape[2])))
        except ConvatlasError as error:
            raise type(error)(f"{self.masks[index]}: {error}") from error
        if mask.shape != image.shape[1:]:
            (h, w), (height, width) = mask.shape, image.shape[1:]
            turned = f"; EXIF turns the image, orientation {orientation}" if orientation != 1 else ""
            raise ConvatlasError(
                f"{self.masks[index]} is {h} x {w}, its image {height} x {width}; expected one size{turned}"
            )
        return Pair(image, torch.from_numpy(np.ascontiguousarray(mask)), orientation)

    def _chosen(self, indices: Tensor) -> "MaskSplit":
        chosen = indices.tolist()
        return MaskSplit([self.paths[i] for i in chosen], [self.masks[i] for i in chosen], self.classes)

    def _keep(self, indices: Tensor) -> None:
        super()._keep(indices)
        self.masks = tuple(self.masks[i] for i in indices.tolist())


def _lay(mask: MaskFile, orientation: int, size: tuple[int, int]) -> MaskFile:
    """The mask as its image of (H, W) is shown: turned alike, or drawn on what is shown, as its size alone can tell.

    Raises:
        TurnedError: one of the two is turned, and the size does not tell whether the mask was drawn before or after.
    """
    if mask.orientation == orientation:
        return mask if orientation == 1 else MaskFile(mask.upright(), mask.palette, mask.is_bilevel, 1)
    is_told = mask.orientation == 1 and orientation > 4 and size[0] != size[1]
    if is_told and mask.pixels.shape[:2] == size:
        return mask
    if is_told:
        return mask  # of another size, which is said
    raise TurnedError(
        f"EXIF turns the image (orientation {orientation}) and not the mask ({mask.orientation}), which may have been "
        f"drawn before or after it was turned; save both upright"
    )
