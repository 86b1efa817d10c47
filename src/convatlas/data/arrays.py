"""Data sets in .npz files: plain arrays (`images`, `labels`) or packed images (`jpeg`, `offsets`, `labels`)."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch

from convatlas.data.dimensions import series_or_volumes
from convatlas.data.encoded import PackedSplit
from convatlas.data.limits import check_regular, check_unpacked
from convatlas.data.part_names import PARTS, Part
from convatlas.data.splits import ArraySplit
from convatlas.errors import ConvatlasError

_MAX_CLASSES = 100_000  # a larger label is an identifier or a mistake, and would ask for a huge last layer
_IMAGES, _LABELS = ("images", "x"), ("labels", "y")  # x_train, y_train as Keras names them; train_images as MedMNIST
_BLOCK = 1 << 24

NpzSplit = ArraySplit | PackedSplit


def read_npz(path: Path) -> tuple[dict[Part, NpzSplit], tuple[str, ...] | None]:
    """The splits of a file and its class names, where it holds any.

    `images` is uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3. `jpeg` holds the bytes of all images
    and `offsets` the N + 1 places where they start and end. Where a file holds several splits, their names stand
    beside: `x_train`, `y_train`, `x_test`, `y_test` or `train_images`, `train_labels`, `val_images` ... Without them
    all are in "train". Nothing in the file is executed.

    Raises:
        ConvatlasError: not a whole .npz file, an array missing or of another type or length, a label out of range, or
            more bytes unfolded than the limit.
    """
    try:
        packed = check_regular(path)
        with zipfile.ZipFile(path) as archive:
            headers = _headers(archive, path)
            keys = _keys(headers, path)
            wanted = {key for members in keys.values() for key in members.values()} | ({"classes"} & headers.keys())
            check_unpacked(sum(headers[key].size for key in wanted), path, packed)
            arrays = {key: _array(archive, key) for key in sorted(wanted)}
    except ConvatlasError:
        raise
    except Exception as error:  # the readers of damaged archives raise anything: zlib.error, struct.error, RuntimeError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConvatlasError(f"{path} is not a whole .npz file of plain arrays: {reason[:200]}") from error
    classes = _class_names(arrays.get("classes"), path)
    parts: dict[Part, NpzSplit] = {}
    for part, members in keys.items():
        parts[part] = _split({role: arrays[key] for role, key in members.items()}, classes, path, members)
    return parts, classes


class _Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    size: int  # bytes


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    size = dtype.itemsize
    for length in shape:
        size *= int(length)
    return _Header(shape, is_fortran, dtype, size)


def _headers(archive: zipfile.ZipFile, path: Path) -> dict[str, _Header]:
    """By name; an array's bytes must be there, so that nothing is made room for on its word alone."""
    headers = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as stream:
            header = _read_header(stream)
            present = info.file_size - stream.tell()
            if not 0 <= header.size <= present:
                raise ValueError(f"{info.filename} says {header.size:,} bytes and has {present:,}")
        headers[info.filename.removesuffix(".npy")] = header
    return headers


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as stream:
        header = _read_header(stream)
        if header.dtype.hasobject:
            raise ValueError(f"{name} holds objects")
        block = np.empty(header.size, np.uint8)
        done = 0
        while piece := stream.read(min(_BLOCK, header.size - done) or 1):  # at the end the checksum is compared
            block[done : done + len(piece)] = np.frombuffer(piece, np.uint8)[: header.size - done]
            done = min(done + len(piece), header.size)
        if done < header.size:
            raise ValueError(f"{name} ends too early")
    array = block.view(header.dtype)
    return array.reshape(header.shape[::-1]).transpose() if header.is_fortran else array.reshape(header.shape)


def _keys(names: Iterable[str], path: Path) -> dict[Part, dict[str, str]]:
    """Which arrays hold what (images or jpeg and offsets, labels), by split."""
    present = set(names)
    keys: dict[Part, dict[str, str]] = {}
    for part in PARTS:
        members = {
            role: next((key for name in aliases for key in (f"{part}_{name}", f"{name}_{part}") if key in present), "")
            for role, aliases in (("images", _IMAGES), ("labels", _LABELS))
        }
        if all(members.values()):
            keys[part] = members
    if keys and "labels" not in present:
        return keys
    missing = {"labels"} - present
    if "images" not in present:
        missing |= {"jpeg", "offsets"} - present
    if missing:
        raise ConvatlasError(
            f"{path} holds {', '.join(sorted(present)[:20]) or 'nothing'}; "
            "expected `images` and `labels`, or `jpeg`, `offsets` and `labels`"
        )
    roles = ("images", "labels") if "images" in present else ("jpeg", "offsets", "labels")
    return {"train": {role: role for role in roles}}


def _split(
    arrays: Mapping[str, np.ndarray], classes: tuple[str, ...] | None, path: Path, names: Mapping[str, str]
) -> NpzSplit:
    labels = _labels(arrays["labels"], classes, path, names["labels"])
    if "images" in arrays:
        images = _channels_first(arrays["images"], path, names["images"])
        _same_length(len(images), len(labels), path)
        return ArraySplit(torch.from_numpy(images), torch.from_numpy(labels))
    encoded, offsets = arrays["jpeg"], arrays["offsets"]
    if encoded.dtype != np.uint8 or encoded.ndim != 1:
        raise ConvatlasError(f"`jpeg` in {path} is {encoded.dtype} {encoded.shape}; expected uint8 bytes in one axis")
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or len(offsets) == 0:
        raise ConvatlasError(f"`offsets` in {path} is {offsets.dtype} {offsets.shape}; expected N + 1 integers")
    if int(offsets.max()) > len(encoded) or int(offsets.min()) < 0:
        raise ConvatlasError(f"`offsets` in {path} do not ascend from 0 to the {len(encoded)} bytes of `jpeg`")
    offsets = offsets.astype(np.int64)
    if (np.diff(offsets) < 0).any():
        raise ConvatlasError(f"`offsets` in {path} do not ascend from 0 to the {len(encoded)} bytes of `jpeg`")
    _same_length(len(offsets) - 1, len(labels), path)
    bounds = np.stack([offsets[:-1], offsets[1:]], axis=1)
    return PackedSplit(np.ascontiguousarray(encoded), bounds, torch.from_numpy(labels), str(path))


def _class_names(names: np.ndarray | None, path: Path) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) > _MAX_CLASSES:
        raise ConvatlasError(f"`classes` in {path} is {names.dtype} {names.shape}; expected names in one axis")
    texts = [name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name) for name in names]
    classes = tuple(text.encode("utf-8", "replace").decode("utf-8") for text in texts)
    if len(set(classes)) < len(classes):
        raise ConvatlasError(f"`classes` in {path} names a class twice; expected one name for each")
    return classes


def _labels(labels: np.ndarray, classes: tuple[str, ...] | None, path: Path, name: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ConvatlasError(f"`{name}` in {path} is {labels.dtype} {labels.shape}; expected integers in one axis")
    limit = len(classes) if classes is not None else _MAX_CLASSES
    wrong = np.flatnonzero((labels < 0) | (labels >= limit))
    if len(wrong):
        raise ConvatlasError(
            f"label {labels[wrong[0]]} of image {wrong[0]} in {path} is out of range; expected 0 to {limit - 1}"
        )
    return labels.astype(np.int64)


def _channels_first(images: np.ndarray, path: Path, name: str) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) or (N, C, H, W) -> (N, C, H, W)"""
    if refusal := series_or_volumes(images.shape):
        raise ConvatlasError(f"`{name}` in {path} {refusal}")
    if images.dtype != np.uint8:
        raise ConvatlasError(f"`{name}` in {path} is {images.dtype}; expected uint8 values from 0 to 255")
    if 0 in images.shape[1:]:
        raise ConvatlasError(f"`{name}` in {path} has shape {images.shape}; expected images of at least one pixel")
    if images.ndim == 3:
        return np.ascontiguousarray(images)[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return np.ascontiguousarray(images)
    raise ConvatlasError(
        f"`{name}` in {path} has shape {images.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3"
    )


def _same_length(images: int, labels: int, path: Path) -> None:
    if images != labels:
        raise ConvatlasError(f"{path} has {images} images and {labels} labels; expected one label an image")
    if images == 0:
        raise ConvatlasError(f"{path} holds no images; expected at least one")
