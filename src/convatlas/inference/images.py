"""Images as people have them: files, folders, patterns, bytes, PIL images, arrays and tensors, one or many.

Whatever comes in leaves as a path, or as pixels with a name, both of which `read_image` reads.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from convatlas.data import decode
from convatlas.data.dimensions import OWN_LOOP, is_strip, looks_like_series
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.image_paths import find_images
from convatlas.records import Preprocessing, Problem

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.generic] | Tensor
Images: TypeAlias = ImageInput | Iterable[ImageInput] | Iterable[Iterable[ImageInput]]

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")
_CHANNELS = (1, 3, 4)  # grey, RGB, RGB with transparency
_ARRAYS = "expected (H, W), (H, W, C) or (N, H, W, C) with 1, 3 or 4 channels"
_TENSORS = "expected (H, W), (C, H, W) or (N, C, H, W) with 1, 3 or 4 channels"


@dataclass(frozen=True)
class MemoryImage:
    """An image that is in memory already, under the name that results call it by."""

    name: str
    pixels: Tensor  # uint8 (C, H, W), 1 or 3 channels

    def __str__(self) -> str:
        return self.name


Readable: TypeAlias = Path | MemoryImage


def collect_images(images: Images) -> tuple[list[Readable], list[Problem]]:
    """All images in order; a file that is named twice comes once.

    A number in an array or a tensor is 0 to 255 where it is an 8-bit integer, and 0 to 1 where it is a float.

    Args:
        images: paths of files and folders (searched recursively), patterns such as "*.png", the bytes of a file, PIL
            images, numpy arrays (H, W), (H, W, C) or (N, H, W, C), tensors (H, W), (C, H, W) or (N, C, H, W), or any
            number of these.

    Raises:
        UsageError: something else, or an array whose axes or values can be read in two ways.
    """
    readable: list[Readable] = []
    problems: list[Problem] = []
    paths: set[Path] = set()
    for place, item in enumerate(_flatten(images)):
        if isinstance(item, str | os.PathLike):
            if not os.fspath(item):
                raise UsageError(f"images[{place}] is an empty path; expected a file, a folder or a pattern")
            files, missing = find_images([Path(item) if isinstance(item, os.PathLike) else item])
            readable += [path for path in files if path not in paths]
            paths.update(files)
            problems += missing
        else:
            try:
                readable += _in_memory(item, f"images[{place}]")
            except UsageError:
                raise
            except ConvatlasError as error:  # damage, which the other images have no part in
                problems.append(Problem(f"images[{place}]", str(error)))
    return readable, problems


def read_image(image: Readable, preprocessing: Preprocessing | None = None) -> Tensor:
    """uint8 (C, H, W), 1 or 3 channels, its 16 bits as those of the training images; errors as for `data.decode`."""
    white = None if preprocessing is None else preprocessing.max_sample
    return decode(image, white=white) if isinstance(image, Path) else image.pixels


def _flatten(images: object) -> Iterator[ImageInput]:
    names = isinstance(images, np.ndarray) and images.dtype.kind in "UO"  # as a column of a table has them
    if isinstance(images, str | os.PathLike | bytes | Image.Image | np.ndarray | Tensor) and not names:
        yield images
    elif isinstance(images, Iterable) and not isinstance(images, dict):
        for item in images:
            yield from _flatten(item)
    else:
        raise UsageError(f"images has an entry of type {type(images).__name__}; {_KINDS}")


_KINDS = "expected paths, bytes of files, PIL images, numpy arrays or tensors"


def _in_memory(item: bytes | Image.Image | NDArray[np.generic] | Tensor, name: str) -> list[MemoryImage]:
    if isinstance(item, bytes):
        return [MemoryImage(name, decode(item))]
    if isinstance(item, Image.Image):
        return [MemoryImage(str(getattr(item, "filename", "")) or name, _from_pil(item))]
    if isinstance(item, Tensor):
        batch = _channels_first(item.detach().cpu(), name)
    else:
        batch = _channels_last(np.asarray(item), name)
    images = [_without_transparency(image) for image in _eight_bits(batch, name)]
    names = [name] if item.ndim < 4 else [f"{name}[{number}]" for number in range(len(images))]
    return [MemoryImage(*entry) for entry in zip(names, images, strict=True)]


def _from_pil(image: Image.Image) -> Tensor:
    """As `decode` reads the file that a PIL image would be saved to: orientation, transparency, 16 bits."""
    if image.mode == "F":
        raise UsageError("a PIL image has floating-point pixels (mode F); expected 8 or 16 bits")
    buffer = BytesIO()
    try:
        exif = image.getexif()
        frame = image.copy()  # the first of an animation
        if frame.mode == "I" and frame.getextrema()[1] <= 255:  # pyright: ignore[reportOperatorIssue] - one band
            frame = frame.convert("L")
        elif frame.mode not in _PNG_MODES:
            frame = frame.convert("RGBA" if frame.has_transparency_data else "RGB")
        frame.save(buffer, "PNG", compress_level=0, **({"exif": exif} if exif else {}))
    except (OSError, SyntaxError, ValueError) as error:  # a file that was opened, and is read only now
        raise ConvatlasError(str(error).split("\n")[0] or type(error).__name__) from error
    return decode(buffer.getvalue())


def _channels_last(array: NDArray[np.generic], name: str) -> Tensor:
    """(H, W), (H, W, C) or (N, H, W, C) -> (N, C, H, W)"""
    shape = array.shape
    if array.dtype.kind not in "uif" or array.dtype.itemsize > 8:
        raise UsageError(f"{name} is an array of {array.dtype}; expected uint8 from 0 to 255, or floats from 0 to 1")
    if array.ndim == 2:
        _refuse_series(shape, name)
        array = array[None, :, :, None]
    elif array.ndim == 3:
        _check_axes(shape, last=True, name=name)
        array = array[None]
    elif array.ndim == 4:
        _check_axes(shape[1:], last=True, name=name, whole=shape)
    else:
        _refuse_series(shape, name)
        raise UsageError(f"{name} is an array of shape {shape}; {_ARRAYS}")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        array = array.astype(np.int64)
    copied = np.array(array, order="C")  # the caller's may be read-only, reversed, or change meanwhile
    return torch.from_numpy(copied).permute(0, 3, 1, 2)


def _channels_first(tensor: Tensor, name: str) -> Tensor:
    """(H, W), (C, H, W) or (N, C, H, W) -> (N, C, H, W)"""
    shape = tuple(tensor.shape)
    if tensor.ndim == 2:
        _refuse_series(shape, name)
        return tensor[None, None]
    if tensor.ndim == 3:
        _check_axes(shape, last=False, name=name)
        return tensor[None]
    if tensor.ndim == 4:
        _check_axes(shape[1:], last=False, name=name, whole=shape)
        return tensor
    _refuse_series(shape, name)
    raise UsageError(f"{name} is a tensor of shape {shape}; {_TENSORS}")


def _check_axes(shape: Sequence[int], *, last: bool, name: str, whole: Sequence[int] | None = None) -> None:
    """Raises UsageError unless the axis of channels is where it belongs, and nowhere else."""
    kind, expected = ("an array", _ARRAYS) if last else ("a tensor", _TENSORS)
    said = f"{name} is {kind} of shape {tuple(whole or shape)}"
    here, elsewhere = (shape[-1], shape[0]) if last else (shape[0], shape[-1])
    if 0 in (whole or shape):
        raise UsageError(f"{said}, which is empty; {expected}")
    if here in _CHANNELS and elsewhere in _CHANNELS:
        raise UsageError(f"{said}, whose channels may be the first axis or the last; pass a PIL image in its place")
    if here in _CHANNELS:
        return
    if elsewhere in _CHANNELS:
        order = (0, 2, 3, 1) if last and whole else (1, 2, 0) if last else (0, 3, 1, 2) if whole else (2, 0, 1)
        where = f"first; pass x.transpose{order}" if last else f"last; pass x.permute{order}"
        raise UsageError(f"{said}, whose channels come {where}")
    _refuse_series(tuple(whole or shape), name)
    grey = "x[..., None]" if last else "x[:, None]"
    raise UsageError(f"{said}; {expected}: many grey images are {grey}")


def _refuse_series(shape: Sequence[int], name: str) -> None:
    """Raises UsageError for what may be a series (C, L), series (N, C, L) or volumes (N, C, D, H, W)."""
    said = f"{name} has shape {tuple(shape)}, which may be"
    if len(shape) == 2 and is_strip(*shape):
        raise UsageError(f"{said} a series; networks here look at images: if it is one, pass a PIL image")
    if len(shape) == 3 and looks_like_series(*shape[1:]):
        raise UsageError(f"{said} series of {shape[1]} channels; {OWN_LOOP.format(dims=1)}")
    if len(shape) >= 5:
        raise UsageError(f"{said} volumes or videos; {OWN_LOOP.format(dims=3)}")


def _eight_bits(batch: Tensor, name: str) -> Tensor:
    """(N, C, H, W) -> uint8"""
    if batch.dtype == torch.uint8:
        return batch
    low, high = (batch.min().item(), batch.max().item()) if batch.numel() else (0, 0)
    if batch.dtype.is_floating_point:
        if not 0 <= low <= high <= 1:  # also where one is NaN
            raise UsageError(
                f"{name} has floats from {low:g} to {high:g}; expected 0 to 1 before any normalisation, or uint8"
            )
        return (batch.float() * 255).round().to(torch.uint8)
    raise UsageError(f"{name} has {batch.dtype} from {low} to {high}; expected uint8 from 0 to 255, or floats 0 to 1")


def _without_transparency(image: Tensor) -> Tensor:
    """RGB over white: uint8 (4, H, W) -> (3, H, W)"""
    if len(image) != len(("red", "green", "blue", "alpha")):
        return image
    return _from_pil(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy(), "RGBA"))
