"""How an image file becomes a network's input, and the files that can't be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: convert, resize, centre-crop or pad with black, scale, normalise.

    `resize` scales the short side ("short_side"), or the whole image into a square ("fit", which keeps the
    aspect), or each side ("stretch"), to `resize_to` pixels, bilinear with antialiasing. Then the image is cropped or
    padded around its centre to `size`. Values in [0, 1] become (value - mean) / std, channel by channel.

    Before all that, `middle` keeps the middle part of both sides: 0.875, stretched to the input, is how TensorFlow's
    release of Inception looks at a test image.

    `mean_image` replaces `mean` by a value for each pixel: "training" asks for the mean of the training images, and
    becomes the packed values (`data.measured`), which the weights' card then carries.

    `max_sample` is what white is in 16-bit images, of the data that were trained on (`data.depths.settle`): a dark
    image of 12 bits is as dark to the network as it was among them. None: each image by its own largest value.
    """

    size: tuple[int, int]  # H, W
    channels: int = 3  # 1 is grey
    resize: Literal["none", "short_side", "fit", "stretch"] = "none"
    resize_to: int | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean_image: str | None = None
    max_sample: int | None = None
    middle: float = 1.0  # part of both sides that is kept


@dataclass(frozen=True)
class Problem:
    """A file that could not be used, and why."""

    path: str
    reason: str
