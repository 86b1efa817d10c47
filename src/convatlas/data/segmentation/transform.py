"""An image and its mask, brought into the shape that a segmenter learns from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.data.preprocess import convert_channels, resize, resized_size
from convatlas.data.segmentation.augment import MaskAugmentation, Pair, augment, resized_mask, window
from convatlas.records import Preprocessing


@dataclass(frozen=True)
class MaskTransform:
    """(image, mask) as read -> uint8 (C, h, w) of `preprocessing.size` and its mask, uint8 (h, w).

    Args:
        preprocessing: its `size` is the window that is cut out; its `resize` comes before.
        steps: augmentations, between the two.
        margin_px: by which a network's output is smaller than its input on each side. Images are mirrored beyond
            their border by as much, so that every pixel can be in the output.
    """

    preprocessing: Preprocessing
    steps: tuple[MaskAugmentation, ...] = ()
    margin_px: int = 0

    def __call__(self, image: Tensor, mask: Tensor, generator: torch.Generator | None) -> Pair:
        """Without a generator nothing is augmented, and the window is the middle."""
        return self.cut(*self.shape(image, mask), generator)

    def shape(self, image: Tensor, mask: Tensor) -> Pair:
        """What is the same in every epoch: channels, resizing and the mirrored border."""
        image = resize(convert_channels(image, self.preprocessing.channels), self.preprocessing)
        if mask.shape != image.shape[1:]:
            mask = resized_mask(mask, (image.shape[1], image.shape[2]))
        if self.margin_px:
            image, mask = self._mirrored(image), self._mirrored(mask)
        return image, mask

    def shaped_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of what `shape` gives for an image of this size, but for images of extreme aspect."""
        height, width = resized_size(height, width, self.preprocessing)
        return height + 2 * self.margin_px, width + 2 * self.margin_px

    def cut(self, image: Tensor, mask: Tensor, generator: torch.Generator | None) -> Pair:
        """The window of an augmented image that is in shape, and of its mask."""
        if generator is not None:
            image, mask = augment(self.steps, image, mask, generator)
        return window(image, mask, self.preprocessing.size, self._fill(), generator)

    def _mirrored(self, image: Tensor) -> Tensor:
        for dim in (-2, -1):
            length = image.shape[dim]
            image = image.index_select(dim, mirror(length, self.margin_px, length + 2 * self.margin_px))
        return image

    def _fill(self) -> Tensor:
        """The value that becomes 0 on normalisation, channel by channel: the mean."""
        mean = torch.tensor(self.preprocessing.mean) * 255
        return mean.round().clamp(0, 255).to(torch.uint8).expand(self.preprocessing.channels)


def mirror(length: int, before: int, total: int, device: torch.device | None = None) -> Tensor:
    """Which pixel of `length` stands at each of `total` places, of which `before` lie before the first.  (total,)

    The border pixel itself is not repeated; a short image is mirrored again and again.
    """
    if length == 1:
        return torch.zeros(total, dtype=torch.long, device=device)
    period = 2 * (length - 1)
    place = (torch.arange(total, device=device) - before) % period
    return torch.where(place < length, place, period - place)
