"""From a picture file to 8-bit pixels, with every reader's exception turned into one sentence."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from convatlas.structures import ConvatlasError

_ORIENTATION = 0x0112  # the EXIF tag


def decode(source: str | Path | bytes) -> Tensor:
    """The pixels of a picture as a person sees it: uint8 (1, H, W) for grey pictures, (3, H, W) RGB for all others.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits, and of an animation
    the first frame is taken.

    Raises:
        ConvatlasError: the picture can't be decoded; the message is the reason, without the path.
    """
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as picture:
            pixels = _eight_bits(_upright(picture))
    except ConvatlasError:
        raise
    except (
        Exception
    ) as error:  # the readers of damaged files raise anything: OSError, SyntaxError, IndexError, struct.error
        raise ConvatlasError(_reason(error)) from error
    if pixels.ndim == 2:
        return torch.from_numpy(pixels)[None]
    return torch.from_numpy(pixels).permute(2, 0, 1)


def picture_size(source: str | Path) -> tuple[int, int]:
    """(H, W) as stored, read from the header alone.

    Raises:
        ConvatlasError: the header can't be read.
    """
    try:
        with Image.open(source) as picture:
            return picture.height, picture.width
    except Exception as error:
        raise ConvatlasError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture, or of an unknown format"
    return str(error).split("\n")[0] or type(error).__name__


def _upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return picture
    return ImageOps.exif_transpose(picture) if orientation in range(2, 9) else picture


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8, a copy that owns its memory."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _scale_to_eight_bits(np.array(picture), sixteen=picture.mode != "I")
    if picture.mode == "F":
        raise ConvatlasError("floating-point pixels; expected 8 or 16 bits")
    grey = picture.mode in ("1", "L", "LA", "La")
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.array(picture.convert("L" if grey else "RGB"))


def _scale_to_eight_bits(values: np.ndarray, *, sixteen: bool) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ConvatlasError(f"pixel values from {low} to {high}; expected 8 or 16 bits")
    if not sixteen and high <= 255:  # mode "I" is also how some 8-bit TIFF files arrive
        return values.astype(np.uint8)
    return np.round(values / 257.0).astype(np.uint8)  # 65535 = 257 x 255
