"""From an image file to 8-bit pixels, with every reader's exception turned into one sentence."""

import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from convatlas.data import bit_depth
from convatlas.data.limits import MAX_PIXELS, check_pixels, max_pixels, read_bytes, refuse_pixels
from convatlas.errors import ConvatlasError

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
"""Pillow's names of what is read; others, such as EPS, which runs a program, are refused."""

_JPEG, _SCAN = b"\xff\xd8\xff", b"\xff\xda"
_MAX_SCANS = 400  # of a progressive JPEG, each of which passes over all pixels
_ORIENTATION = 0x0112  # the EXIF tag
_HALF_TURNS = 4  # its values from 5 on swap the sides
_MAY_BE_TURNED = (b"Exif\0\0", b"tiff:Orientation")
_COLOURS = {"Gray": "GRAY", "YCbCr": "RGB", "RGB": "RGB"}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_STRIP = 1 << 22  # pixels that are converted at once
_PLAIN = ("L", "RGB", "P", "1")

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `check_pixels` refuses such images


@dataclass(frozen=True)
class Decoded:
    """Pixels of a file and what is to be said about them."""

    pixels: Tensor  # uint8 (1, H, W) or (3, H, W)
    format: str  # Pillow's name: "JPEG", "PNG"
    notes: tuple[str, ...] = field(default=())  # what was converted or left out


def decode(source: str | Path | bytes, *, short_side: int | None = None, white: int | None = None) -> Tensor:
    """The pixels of an image as a person sees it: uint8 (1, H, W) for grey images, (3, H, W) RGB for all others.

    EXIF orientation is applied, transparency is laid over white, 16-bit samples are scaled to 8 bits by the range that
    they stand in (`bit_depth.scale_grey`), and of an animation the first frame is taken. A whole, upright JPEG goes
    straight to libjpeg-turbo, which Pillow calls too: the pixels are the same.

    Args:
        source: a path, or the bytes of a file.
        short_side: pixels that are needed. A JPEG at least twice as large may come at a half to an eighth of its size,
            both sides still as long as this, for a fraction of the work.
        white: the largest value of the range that the 16-bit images of a data set stand in (`depths.settle`); None: of
            the image's own.

    Raises:
        ConvatlasError: the image can't be decoded, or has more pixels than the limit; the message is the reason,
            without the path.
    """
    return inspect(source, short_side=short_side, white=white, with_notes=False).pixels


def inspect(
    source: str | Path | bytes, *, short_side: int | None = None, white: int | None = None, with_notes: bool = True
) -> Decoded:
    """As `decode`, with the format and what was converted; `with_notes` looks for further frames too."""
    try:
        content = source if isinstance(source, bytes) else read_bytes(source)
        if not content:
            raise ConvatlasError("the file is empty")
        pixels = _jpeg(content, short_side)
        if pixels is not None:
            return Decoded(_as_tensor(pixels), "JPEG")
        with open_image(content) as image:
            notes = _frame_notes(image, content) if with_notes else []
            pixels, further = _eight_bits(image, content, white)
            kind = image.format or ""
        return Decoded(_as_tensor(pixels), kind, (*further, *notes))
    except ConvatlasError:
        raise
    except (
        Exception
    ) as error:  # the readers of damaged files raise anything: OSError, SyntaxError, IndexError, struct.error
        raise ConvatlasError(_reason(error)) from error


def open_image(source: str | Path | bytes) -> Image.Image:
    """Pillow's image with its header read, of the formats that are known and not above the limit of pixels.

    Raises:
        ConvatlasError: more pixels than the limit, or HEIC without its reader.
        OSError, ValueError ...: as Pillow raises them.
    """
    content = source if isinstance(source, bytes) else read_bytes(source)
    formats = [name for name in FORMATS if name in _readers()]
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS and "HEIF" not in formats:
        _register_heif()
        formats.append("HEIF")
    limit = max_pixels()
    if limit > MAX_PIXELS and Image.MAX_IMAGE_PIXELS is not None:  # asked for; Pillow has a limit of its own
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit)
    try:
        image = Image.open(BytesIO(content), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = next((int(word) for word in str(error).replace("(", " ").split() if word.isdecimal()), limit + 1)
        raise ConvatlasError(refuse_pixels(f"{count:,}", count)) from error
    check_pixels(*image.size)
    return image


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
        with open_image(content) as image:
            return orientation_of(image)
    except Exception:  # what it can't open `decode` refuses
        return 1


def image_size(source: str | Path) -> tuple[int, int]:
    """(H, W) as stored, read from the header alone.

    Raises:
        ConvatlasError: the header can't be read.
    """
    try:
        with open_image(source) as image:
            return image.height, image.width
    except ConvatlasError:
        raise
    except Exception as error:
        raise ConvatlasError(_reason(error)) from error


def upright_size(source: str | Path) -> tuple[int, int]:
    """(H, W) as `decode` gives them, read from the header alone.

    Raises:
        ConvatlasError: the header can't be read.
    """
    try:
        with open_image(source) as image:
            lying = orientation_of(image) > _HALF_TURNS
            return (image.width, image.height) if lying else (image.height, image.width)
    except ConvatlasError:
        raise
    except Exception as error:
        raise ConvatlasError(_reason(error)) from error


def orientation_of(image: Image.Image) -> int:
    """How EXIF says that an image is turned: 1 (upright) to 8."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1
    return orientation if orientation in range(2, 9) else 1


def _jpeg(content: bytes, short_side: int | None) -> np.ndarray | None:
    """(H, W, 1 or 3) uint8, or None for anything but a whole, upright JPEG in grey or colour."""
    if not content.startswith(_JPEG):
        return None
    if content.count(_SCAN) > _MAX_SCANS:
        raise ConvatlasError(f"a JPEG of more than {_MAX_SCANS} scans, which would take minutes to decode")
    if _is_turned(content):
        return None
    least, factor = (short_side, 2) if short_side else (0, 1)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        check_pixels(int(width), int(height))
        if colours not in _COLOURS:
            return None
        return simplejpeg.decode_jpeg(content, _COLOURS[colours], min_height=least, min_width=least, min_factor=factor)
    except ValueError:  # what it warns of too; Pillow decides whether that is damage, and says what
        return None


def _is_turned(content: bytes) -> bool:
    header = content[: content.find(_SCAN)]  # a thumbnail's scan comes after the mark that its EXIF begins with
    if not any(mark in header for mark in _MAY_BE_TURNED):
        return False
    with open_image(content) as image:
        return orientation_of(image) != 1


def _as_tensor(pixels: np.ndarray) -> Tensor:
    if pixels.ndim == 2:
        return torch.from_numpy(pixels)[None]
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _readers() -> dict:
    Image.init()
    return Image.OPEN


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ConvatlasError("HEIC, which needs pillow-heif; do `pip install 'convatlas[heif]'`") from error
    pillow_heif.register_heif_opener()


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    return str(error).split("\n")[0][:300] or type(error).__name__


def _frame_notes(image: Image.Image, content: bytes) -> list[str]:
    """What isn't seen in the pixels: further frames, and a mode that is converted."""
    notes = [] if image.mode in _PLAIN or bit_depth.is_deep_grey(image) else [f"mode {image.mode} of Pillow"]
    if image.format in ("MPO", "JPEG"):  # its further frames are previews and the other eye's
        return notes
    try:
        with open_image(content) as other:
            other.seek(1)
    except Exception:  # EOFError where there is one frame; a damaged second frame is not read anyway
        return notes
    return [*notes, "several frames or pages, of which the first is read"]


def _eight_bits(image: Image.Image, content: bytes, white: int | None) -> tuple[np.ndarray, list[str]]:
    """(H, W) or (H, W, 3) uint8, upright, a copy that owns its memory; and what was scaled."""
    orientation = orientation_of(image)
    if image.mode == "F":
        raise ConvatlasError("floating-point pixels; expected 8 or 16 bits")
    if bit_depth.is_deep_grey(image):
        pixels, note = bit_depth.scale_grey(image, white)
        return _turn(pixels, orientation), [note] if note else []
    if bit_depth.is_deep_colour(image, content):
        image.load()  # finds the damage that OpenCV would pass over
        scaled = bit_depth.scale_colour(content, white)
        if scaled is not None:
            return _turn(_on_white(scaled[0]), orientation), [scaled[1]]
    grey = image.mode in ("1", "L", "LA", "La")
    width, height = image.size
    pixels = np.empty((height, width) if grey else (height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)
    image.load()
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        pixels[top:bottom] = _strip(strip, grey=grey)
    return _turn(pixels, orientation), []


def _strip(image: Image.Image, *, grey: bool) -> np.ndarray:
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return np.asarray(image.convert("L" if grey else "RGB"))


def _on_white(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) -> (H, W, 3): transparent pixels become white."""
    if pixels.shape[2] == 3:
        return pixels
    image = Image.fromarray(pixels)
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Upright pixels of an image that EXIF says is mirrored (2, 4), upside down (3) or lying (5 to 8)."""
    turned = {
        2: lambda: pixels[:, ::-1],
        3: lambda: pixels[::-1, ::-1],
        4: lambda: pixels[::-1],
        5: lambda: pixels.swapaxes(0, 1),
        6: lambda: np.rot90(pixels, -1),
        7: lambda: pixels[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(pixels),
    }
    return np.ascontiguousarray(turned[orientation]()) if orientation in turned else pixels
