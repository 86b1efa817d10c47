"""From a picture file to 8-bit pixels, with every reader's exception turned into one sentence."""

from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps
from torch import Tensor

from convatlas.structures import ConvatlasError

_JPEG, _SCAN = b"\xff\xd8\xff", b"\xff\xda"
_ORIENTATION = 0x0112  # the EXIF tag
_HALF_TURNS = 4  # its values from 5 on swap the sides
_MAY_BE_TURNED = (b"Exif\0\0", b"tiff:Orientation")
_COLOURS = {"Gray": "GRAY", "YCbCr": "RGB", "RGB": "RGB"}
_USUAL_PIXELS = 1 << 26  # above, Pillow's guard against small files that unpack to gigabytes is wanted


def decode(source: str | Path | bytes, *, short_side: int | None = None) -> Tensor:
    """The pixels of a picture as a person sees it: uint8 (1, H, W) for grey pictures, (3, H, W) RGB for all others.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits, and of an animation
    the first frame is taken. A whole, upright JPEG goes straight to libjpeg-turbo, which Pillow calls too: the pixels
    are the same.

    Args:
        source: a path, or the bytes of a file.
        short_side: pixels that are needed. A JPEG at least twice as large may come at a half to an eighth of its size,
            both sides still as long as this, for a fraction of the work.

    Raises:
        ConvatlasError: the picture can't be decoded; the message is the reason, without the path.
    """
    try:
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not content:
            raise ConvatlasError("the file is empty")
        pixels = _jpeg(content, short_side)
        if pixels is None:
            with Image.open(BytesIO(content)) as picture:
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


def _jpeg(content: bytes, short_side: int | None) -> np.ndarray | None:
    """(H, W, 1 or 3) uint8, or None for anything but a whole, upright JPEG in grey or colour of a usual size."""
    if not content.startswith(_JPEG) or _is_turned(content):
        return None
    least, factor = (short_side, 2) if short_side else (0, 1)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in _COLOURS or int(height) * int(width) > _USUAL_PIXELS:
            return None
        return simplejpeg.decode_jpeg(content, _COLOURS[colours], min_height=least, min_width=least, min_factor=factor)
    except ValueError:  # what it warns of too; Pillow decides whether that is damage, and says what
        return None


def jpeg_complaint(content: bytes) -> str | None:
    """What libjpeg-turbo says of errors in a JPEG, which it may pass over; None where it met none, or it is no JPEG."""
    if not content.startswith(_JPEG):
        return None
    try:
        simplejpeg.decode_jpeg(content, "RGB", min_height=1, min_width=1, min_factor=2)
    except ValueError as error:
        return str(error)
    return None


def exif_orientation(content: bytes) -> int:
    """How an image file says that it lies, 1 (upright) to 8; `decode` has turned it by that."""
    if content.startswith(_JPEG) and not _is_turned(content):
        return 1
    try:
        with Image.open(BytesIO(content)) as picture:
            return _orientation(picture)
    except Exception:  # what it can't open `decode` refuses
        return 1


def _is_turned(content: bytes) -> bool:
    header = content[: content.find(_SCAN)]  # a thumbnail's scan comes after the mark that its EXIF begins with
    if not any(mark in header for mark in _MAY_BE_TURNED):
        return False
    with Image.open(BytesIO(content)) as picture:
        return _orientation(picture) != 1


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


def upright_size(source: str | Path) -> tuple[int, int]:
    """(H, W) as `decode` gives them, read from the header alone.

    Raises:
        ConvatlasError: the header can't be read.
    """
    try:
        with Image.open(source) as picture:
            lying = _orientation(picture) > _HALF_TURNS
            return (picture.width, picture.height) if lying else (picture.height, picture.width)
    except Exception as error:
        raise ConvatlasError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture, or of an unknown format"
    return str(error).split("\n")[0] or type(error).__name__


def _upright(picture: Image.Image) -> Image.Image:
    return picture if _orientation(picture) == 1 else ImageOps.exif_transpose(picture)


def _orientation(picture: Image.Image) -> int:
    """1 (upright) to 8."""
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1
    return orientation if orientation in range(2, 9) else 1


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
