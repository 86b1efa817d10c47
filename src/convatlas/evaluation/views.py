"""The crops of one image that a protocol looks at, as pure functions of pixels.  (C, H, W) -> (V, C, h, w)"""

import torch
from torch import Tensor

from convatlas.data.preprocess import centre, convert_channels, resize
from convatlas.errors import UsageError
from convatlas.evaluation.protocols import (
    Crops144,
    Dense,
    GridCrops,
    OneCrop,
    TenCrops,
    TestTime,
    TwelveCrops,
    at_scale,
)
from convatlas.records import Preprocessing

Size = tuple[int, int]


def views(source_image: Tensor, protocol: TestTime, preprocessing: Preprocessing) -> list[Tensor]:
    """What the network is shown of an image: uint8 (C, H, W) -> one or more uint8 (V, c, h, w).

    All crops come as one tensor; of a dense protocol each scale is a tensor of its own, the image and its mirror
    image. The protocol's scales are those of `with_scales`.
    """
    size = preprocessing.size
    source_image = convert_channels(source_image, preprocessing.channels)
    scaled = [resize(source_image, at_scale(preprocessing, scale)) for scale in protocol.scales]
    match protocol:
        case OneCrop(side=side):
            return [torch.stack([centre(image, (side, side) if side else size) for image in scaled])]
        case TenCrops():
            return [torch.cat([ten_crops(middle_square(image), size) for image in scaled])]
        case TwelveCrops():
            return [torch.cat([square_views(middle_square(image), size) for image in scaled])]
        case GridCrops(grid=grid):
            return [torch.cat([grid_crops(image, size, grid) for image in scaled])]
        case Crops144():
            return [torch.cat([square_views(square, size) for image in scaled for square in squares(image)])]
        case Dense():
            return [torch.stack((image, image.flip(-1))) for image in scaled]


def crop(image: Tensor, top: int, left: int, size: Size) -> Tensor:
    """One window.  (..., H, W) -> (..., h, w)"""
    return image[..., top : top + size[0], left : left + size[1]]


def five_crops(image: Tensor, size: Size) -> Tensor:
    """Top left, top right, bottom left, bottom right, centre.  (C, H, W) -> (5, C, h, w)

    Raises:
        UsageError: the image is smaller than a crop.
    """
    down, right = image.shape[-2] - size[0], image.shape[-1] - size[1]
    if down < 0 or right < 0:
        raise UsageError(f"crops of {size} do not fit into {tuple(image.shape[-2:])} pixels")
    places = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    return torch.stack([crop(image, top, left, size) for top, left in places])


def mirrored(crops: Tensor) -> Tensor:
    """The crops, then their mirror images.  (V, C, h, w) -> (2V, C, h, w)"""
    return torch.cat((crops, crops.flip(-1)))


def ten_crops(image: Tensor, size: Size) -> Tensor:
    """`five_crops` and their mirror images.  (C, H, W) -> (10, C, h, w)"""
    return mirrored(five_crops(image, size))


def grid_crops(image: Tensor, size: Size, grid: int) -> Tensor:
    """`grid` x `grid` windows, evenly spaced from edge to edge, and their mirror images.  (C, H, W) -> (2 g g, C, h, w)

    Raises:
        UsageError: the image is smaller than a crop.
    """
    down, right = image.shape[-2] - size[0], image.shape[-1] - size[1]
    if down < 0 or right < 0:
        raise UsageError(f"crops of {size} do not fit into {tuple(image.shape[-2:])} pixels")
    steps = max(grid - 1, 1)
    places = [(row * down // steps, column * right // steps) for row in range(grid) for column in range(grid)]
    return mirrored(torch.stack([crop(image, top, left, size) for top, left in places]))


def middle_square(image: Tensor) -> Tensor:
    """The central square of the short side.  (C, H, W) -> (C, S, S)"""
    side = min(image.shape[-2:])
    return centre(image, (side, side))


def squares(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left, centre and right square, or top, centre and bottom of an upright image.  (C, H, W) -> 3 x (C, S, S)"""
    height, width = image.shape[-2:]
    side = min(height, width)
    first, last = crop(image, 0, 0, (side, side)), crop(image, height - side, width - side, (side, side))
    return first, middle_square(image), last


def square_views(square: Tensor, size: Size) -> Tensor:
    """Corners, centre, and the whole square scaled to the input, with mirror images.  (C, S, S) -> (12, C, h, w)"""
    whole = resize(square, Preprocessing(size, square.shape[0], "short_side", max(size)))
    return mirrored(torch.cat((five_crops(square, size), centre(whole, size)[None])))
