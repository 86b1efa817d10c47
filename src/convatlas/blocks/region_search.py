"""What networks share that take their regions from selective search: it is handed the image as it was decoded.

A network sees values minus a mean, blue first where its weights want that. Selective search compares colours: it gets
the image back in 0..255 and red first, which OpenCV's program turns round for itself.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from convatlas.ops.selective_search import proposals_for, selective_search
from convatlas.records import Preprocessing


def decoded(image: Tensor, shown: Preprocessing) -> Tensor:
    """The image before `shown` normalised it: (C, H, W) -> (C, H, W) whole numbers in 0..255, red first.

    A mean image is not added: what it was subtracted from keeps its shadow.

    Example:
        >>> caffe = Preprocessing((1, 1), mean=(0.5, 0.4, 0.2), std=(1 / 255,) * 3, channel_order="bgr")
        >>> decoded(torch.tensor([-50.0, -2.0, 127.5]).view(3, 1, 1), caffe).flatten().tolist()
        [255.0, 100.0, 1.0]
    """
    mean, std = (image.new_tensor(values).view(-1, 1, 1) for values in (shown.mean, shown.std))
    ordered = image.flip(0) if shown.channel_order == "bgr" else image
    return ((ordered * std + mean) * 255).round().clamp(0, 255)


class RegionSearch(nn.Module):
    """A network that looks for regions itself where none are given.

    Whoever trains it or opens its weights sets `shown`, how its images were made. Without it images are taken as red
    first, and stretched to 0..255.
    """

    shown: Preprocessing | None = None

    def regions(
        self,
        images: Tensor,
        proposals: Sequence[Tensor] | None,
        *,
        search: Callable[[Tensor], Tensor] = selective_search,
    ) -> list[Tensor]:
        """The given proposals, or else what `search` finds on the decoded images.  (B, C, H, W) -> B times (N, 4)

        Raises:
            UsageError: they are of another number of images.
        """
        return proposals_for(images, proposals, otherwise=lambda image: search(self._decoded(image)))

    def _decoded(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            return image if self.shown is None else decoded(image, self.shown)
