"""Images as data URIs, for a page that asks for nothing."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

LONGEST_SIDE = 256


def as_array(image: Tensor) -> NDArray[np.uint8]:
    """uint8 (C, H, W) -> (H, W) for grey, else (H, W, 3)"""
    values = image.permute(1, 2, 0).numpy()
    return values[:, :, 0] if values.shape[2] == 1 else values[:, :, :3]


def data_uri(image: Tensor) -> str:
    """uint8 (C, H, W): small images exactly (PNG), photographs reduced to 256 pixels (JPEG)."""
    return array_uri(as_array(image))


def array_uri(values: NDArray[np.uint8], longest_side: int = LONGEST_SIDE) -> str:
    """uint8 (H, W) or (H, W, 3): small images exactly (PNG), others reduced to `longest_side` pixels (JPEG)."""
    image = Image.fromarray(values)
    small = max(image.size) <= 96
    image.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG" if small else "JPEG", quality=85)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def is_small(image: Tensor) -> bool:
    """Whether its pixels should be seen as squares rather than smoothed."""
    return max(image.shape[1:]) <= 64
