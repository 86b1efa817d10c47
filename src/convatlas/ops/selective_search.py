"""Selective search: where objects may be, found by merging segments of an image that look alike.

Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition", IJCV 2013.

Follows  The fast mode, which R-CNN and Fast R-CNN used, in OpenCV's program.
Departs  It is not the authors' program, a MATLAB package, whose boxes R-CNN's authors distribute. The paper orders
         boxes by the level of their merging times a random number, which OpenCV draws anew in each run. We order them
         by the rank of their area times a number drawn with a fixed seed: an image's first boxes are always the same.
Shapes   N boxes, H x W image.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from convatlas.errors import UsageError

REMEMBERED = 4096  # images

_remembered: "OrderedDict[tuple[bytes, int], Tensor]" = OrderedDict()


def selective_search(image: Tensor, *, smallest: int = 20) -> Tensor:
    """Boxes of one image, in its pixels, the most promising first.  (3, H, W) or (1, H, W) -> (N, 4)

    Args:
        image: the decoded one, red first, in whole numbers of 0 to 255; any other range is stretched to them.
        smallest: boxes with a shorter side are left out, as in R-CNN's release.

    The boxes of the last images are remembered, since training shows an image again and again.
    """
    bgr = _as_bytes(image)
    key = hashlib.sha256(bgr.tobytes() + repr(bgr.shape).encode()).digest(), smallest
    if key in _remembered:
        _remembered.move_to_end(key)
    else:
        _remembered[key] = _search(bgr, smallest)
        if len(_remembered) > REMEMBERED:
            _remembered.popitem(last=False)
    return _remembered[key].to(image.device)


def search(image: Tensor, *, smallest: int = 20) -> Tensor:
    """The same without a memory, for whoever measures it.  (3, H, W) or (1, H, W) -> (N, 4)"""
    return _search(_as_bytes(image), smallest)


def proposals_for(
    images: Tensor, proposals: Sequence[Tensor] | None, *, otherwise: Callable[[Tensor], Tensor] = selective_search
) -> list[Tensor]:
    """The given proposals of each image, or else what `otherwise` finds.  (B, C, H, W) -> B times (N, 4)

    Raises:
        UsageError: they are of another number of images.
    """
    if proposals is None:
        return [otherwise(image) for image in images]
    if len(proposals) != len(images):
        raise UsageError(f"proposals are of {len(proposals)} images; expected {len(images)}")
    return [boxes.to(images) for boxes in proposals]


def _search(bgr: np.ndarray, smallest: int) -> Tensor:
    """Fast mode on (H, W, 3) uint8."""
    import cv2

    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(bgr)
    search.switchToSelectiveSearchFast()
    rectangles = np.asarray(search.process(), dtype=np.int64).reshape(-1, 4)  # x, y, w, h
    rectangles = rectangles[(rectangles[:, 2:] >= smallest).all(1)]
    boxes = np.unique(np.concatenate([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], 1), axis=0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    level = np.argsort(np.argsort(-areas, kind="stable"), kind="stable") + 1  # 1: the largest, merged last
    order = np.argsort(level * np.random.default_rng(0).random(len(boxes)), kind="stable")
    return torch.from_numpy(boxes[order]).float()


def _as_bytes(image: Tensor) -> np.ndarray:
    """(3, H, W) or (1, H, W) -> (H, W, 3) uint8"""
    values = image.detach().cpu().float()
    low, high = values.amin(), values.amax()
    whole = bool((values == values.round()).all()) and low >= 0 and high <= 255
    if not whole:
        values = (values - low) / (high - low).clamp(min=1e-12) * 255
    return np.ascontiguousarray(values.expand(3, *values.shape[1:]).flip(0).permute(1, 2, 0).round().byte().numpy())
