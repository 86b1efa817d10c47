"""The random crop of fb.resnet.torch with Torch7's interpolation; the contract of augmentations is in `augment`."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomSizedCrop:
    """Cuts a window of random area and aspect, upright or lying, and scales it to `size` (h, w), bicubic.

    facebookarchive/fb.resnet.torch, datasets/transforms.lua, which ResNeXt and DenseNet took over: area and aspect are
    uniform, then height and width change places with probability one half. The first of ten windows that fits is
    taken; if none does, the centre of the image, scaled so that it just covers `size`. The interpolation is Torch7's:
    Catmull-Rom's cubic from corner to corner, without antialiasing; it may leave 0..255, and the result is float32.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    draws: ClassVar[int] = 32  # area, aspect and exchange of ten attempts, then the place
    native: ClassVar[bool] = True

    @property
    def crop_size(self) -> tuple[int, int]:
        return self.size

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        crops = [self._crop(image.float(), row) for image, row in zip(images, u.tolist(), strict=True)]
        return torch.stack(crops)

    def _crop(self, image: Tensor, u: list[float]) -> Tensor:
        H, W = image.shape[1:]
        window = self.window((H, W), u)
        if window is not None:
            top, left, height, width = window
            return cubic(image[:, top : top + height, left : left + width], self.size)
        (h, w) = self.size
        scaled = cubic(image, (h, max(w, W * h // H)) if h * W >= w * H else (max(h, H * w // W), w))
        top, left = (-(-(has - wanted) // 2) for has, wanted in zip(scaled.shape[1:], self.size, strict=True))
        return scaled[:, top : top + self.size[0], left : left + self.size[1]]

    def window(self, image: tuple[int, int], u: list[float]) -> tuple[int, int, int, int] | None:
        """(top, left, height, width) for an image of (H, W) and its 32 draws; None where no attempt fits."""
        H, W = image
        for attempt in range(10):
            area_u, aspect_u, exchange_u = u[3 * attempt : 3 * attempt + 3]
            area = H * W * (self.scale[0] + area_u * (self.scale[1] - self.scale[0]))
            aspect = self.ratio[0] + aspect_u * (self.ratio[1] - self.ratio[0])
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if exchange_u < 0.5:
                width, height = height, width
            if 0 < width <= W and 0 < height <= H:
                return int(u[30] * (H - height + 1)), int(u[31] * (W - width + 1)), height, width
        return None


def cubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """`image.scale(..., "bicubic")` of Torch7: float (C, H, W) -> (C, h, w)"""
    height, width = (
        _cubic_axis(has, wanted).to(image.device) for has, wanted in zip(image.shape[1:], size, strict=True)
    )
    return height @ image @ width.T


@lru_cache(maxsize=256)
def _cubic_axis(has: int, wanted: int) -> Tensor:
    """The interpolation along one axis as a matrix; beyond the edges the line goes on straight.  () -> (wanted, has)"""
    if has == wanted or has == 1:
        return torch.eye(has) if has == wanted else torch.ones(wanted, 1)
    places = torch.arange(wanted, dtype=torch.float64) * ((has - 1) / max(wanted - 1, 1))
    left = places.floor().clamp(max=has - 2)
    t = places - left
    shares = (  # of the pixels at left - 1, left, left + 1, left + 2
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (t**3 - t**2) / 2,
    )
    wide = torch.zeros(wanted, has + 2, dtype=torch.float64)  # with one pixel beyond each edge
    for offset, share in enumerate(shares):
        wide.scatter_add_(1, (left.long() + offset)[:, None], share[:, None])
    matrix = wide[:, 1:-1].clone()
    matrix[:, 0] += 2 * wide[:, 0]
    matrix[:, 1] -= wide[:, 0]
    matrix[:, -1] += 2 * wide[:, -1]
    matrix[:, -2] -= wide[:, -1]
    return matrix.float()
