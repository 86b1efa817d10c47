"""A mask file as it is: the numbers or colours of its pixels, its palette, and how it lies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from convatlas.data import limits
from convatlas.data.decode import exif_orientation, open_image
from convatlas.errors import ConvatlasError

_NUMBERS = ("L", "P", "I", "I;16", "I;16L", "I;16B")
_COLOURS = ("RGB", "RGBA", "LA", "PA")
_LOSSY = "whose values are not exact; save masks as PNG, without resizing them smoothly"


@dataclass(frozen=True)
class MaskFile:
    """The contents of a mask file."""

    pixels: np.ndarray  # numbers (H, W), or colours (H, W, 3) uint8
    palette: np.ndarray | None  # (256, 3) uint8, of a file whose numbers stand for colours
    is_bilevel: bool  # one bit a pixel
    orientation: int  # by EXIF, 1 (upright) to 8; `pixels` are as stored

    def upright(self) -> np.ndarray:
        """The pixels as an image viewer shows them."""
        if self.orientation == 1:
            return self.pixels
        turns = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
        quarter, mirrored = turns[self.orientation]
        turned = np.rot90(self.pixels, quarter)
        return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def read_mask(path: str | Path) -> MaskFile:
    """The mask in a file.

    Raises:
        ConvatlasError: the file can't be decoded, or its values can't be exact; the message is the reason, without the
            path.
    """
    try:
        content = limits.read_bytes(path)
        with open_image(content) as image:
            _refuse_inexact(image, content)
            pixels = _pixels(image)
            palette = _palette(image) if image.mode == "P" else None
            return MaskFile(pixels, palette, image.mode == "1", exif_orientation(content))
    except ConvatlasError as error:
        raise ConvatlasError(str(error).removeprefix(f"{path} is ").removeprefix(f"{path}: ")) from error
    except Image.UnidentifiedImageError as error:
        raise ConvatlasError("not a mask that can be read (no image, or of an unknown format)") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ConvatlasError(f"not a mask that can be read ({reason})") from error


def read_values(path: str | Path) -> np.ndarray:
    """The numbers (H, W) of a grey or palette image, or the colours (H, W, 3) of any other.

    Raises:
        ConvatlasError: as `read_mask`.
    """
    return read_mask(path).pixels


def _refuse_inexact(image: Image.Image, content: bytes) -> None:
    if image.format in ("JPEG", "MPO", "JPEG2000", "AVIF", "HEIF"):
        raise ConvatlasError(f"a {image.format} file, {_LOSSY}")
    if image.format == "WEBP" and b"VP8 " in content[12:64]:
        raise ConvatlasError(f"a lossy WebP file, {_LOSSY}")
    if getattr(image, "n_frames", 1) > 1:
        raise ConvatlasError(f"{getattr(image, 'n_frames', 1)} images in one file; expected one mask a file")
    if image.mode not in ("1", *_NUMBERS, *_COLOURS):
        raise ConvatlasError(f"pixels of Pillow's mode {image.mode}; expected whole numbers or RGB colours")


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode in _NUMBERS:
        return np.array(image)
    if image.mode != "RGB":
        opacity = np.asarray(image.convert("RGBA").getchannel("A"))
        if int(opacity.min()) < 255:
            raise ConvatlasError("transparent pixels, which have no class; save it without transparency")
    return np.array(image.convert("RGB"))


def _palette(image: Image.Image) -> np.ndarray | None:
    given = image.getpalette("RGB")
    if given is None:
        return None
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(given) // 3] = np.array(given[: len(given) // 3 * 3], dtype=np.uint8).reshape(-1, 3)
    return colours
