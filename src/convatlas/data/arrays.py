"""Data sets in .npz files: plain arrays (`images`, `labels`) or packed pictures (`jpeg`, `offsets`, `labels`)."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from convatlas.data.encoded import PackedSplit
from convatlas.data.splits import ArraySplit
from convatlas.structures import ConvatlasError

_MAX_CLASSES = 100_000  # a larger label is an identifier or a mistake, and would ask for a huge last layer


def read_npz(path: Path) -> tuple[ArraySplit | PackedSplit, tuple[str, ...] | None]:
    """The pictures of a file and its class names, where it holds any.

    `images` is uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3. `jpeg` holds the bytes of all pictures
    and `offsets` the N + 1 places where they start and end. Nothing in the file is executed.

    Raises:
        ConvatlasError: not a whole .npz file, an array missing or of another type or length, a label out of range.
    """
    arrays = _arrays(path)
    missing = {"labels"} - arrays.keys()
    if "images" not in arrays:
        missing |= {"jpeg", "offsets"} - arrays.keys()
    if missing:
        raise ConvatlasError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; "
            "expected `images` and `labels`, or `jpeg`, `offsets` and `labels`"
        )
    classes = tuple(str(name) for name in arrays["classes"]) if "classes" in arrays else None
    labels = _labels(arrays["labels"], classes, path)
    if "images" in arrays:
        images = _channels_first(arrays["images"], path)
        _same_length(len(images), len(labels), path)
        return ArraySplit(torch.from_numpy(images), torch.from_numpy(labels)), classes
    encoded, offsets = arrays["jpeg"], arrays["offsets"]
    if encoded.dtype != np.uint8 or encoded.ndim != 1:
        raise ConvatlasError(f"`jpeg` in {path} is {encoded.dtype} {encoded.shape}; expected uint8 bytes in one axis")
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or len(offsets) == 0:
        raise ConvatlasError(f"`offsets` in {path} is {offsets.dtype} {offsets.shape}; expected N + 1 integers")
    offsets = offsets.astype(np.int64)
    if offsets[0] < 0 or offsets[-1] > len(encoded) or (np.diff(offsets) < 0).any():
        raise ConvatlasError(f"`offsets` in {path} do not ascend from 0 to the {len(encoded)} bytes of `jpeg`")
    _same_length(len(offsets) - 1, len(labels), path)
    bounds = np.stack([offsets[:-1], offsets[1:]], axis=1)
    return PackedSplit(encoded, bounds, torch.from_numpy(labels), str(path)), classes


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ConvatlasError(f"{path} is one array; expected an .npz file with `images` and `labels`")
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, NotImplementedError) as error:
        raise ConvatlasError(
            f"{path} is not a whole .npz file of plain arrays: {str(error).splitlines()[0]}"
        ) from error


def _labels(labels: np.ndarray, classes: tuple[str, ...] | None, path: Path) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ConvatlasError(f"`labels` in {path} is {labels.dtype} {labels.shape}; expected integers in one axis")
    limit = len(classes) if classes is not None else _MAX_CLASSES
    wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    if len(wrong):
        raise ConvatlasError(
            f"label {labels[wrong[0]]} of picture {wrong[0]} in {path} is out of range; expected 0 to {limit - 1}"
        )
    return labels.astype(np.int64)


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) or (N, C, H, W) -> (N, C, H, W)"""
    if images.dtype != np.uint8:
        raise ConvatlasError(f"`images` in {path} is {images.dtype}; expected uint8 values from 0 to 255")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise ConvatlasError(
        f"`images` in {path} has shape {images.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
    )


def _same_length(pictures: int, labels: int, path: Path) -> None:
    if pictures != labels:
        raise ConvatlasError(f"{path} has {pictures} pictures and {labels} labels; expected one label a picture")
    if pictures == 0:
        raise ConvatlasError(f"{path} holds no pictures; expected at least one")
