"""MNIST and its relatives as they are distributed: idx files, compressed or not.

LeCun et al., http://yann.lecun.com/exdb/mnist/: a magic number whose last byte counts the axes, the lengths of the
axes as big-endian 32-bit numbers, then bytes.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from convatlas.data.limits import check_unpacked, read_bytes
from convatlas.data.part_names import Part
from convatlas.data.splits import ArraySplit
from convatlas.errors import ConvatlasError

_NAME = re.compile(r"(.*-)?(train|test|t10k)-(images|labels)[.-]idx([13])-ubyte(\.gz)?", re.IGNORECASE)
_PARTS: dict[str, Part] = {"train": "train", "test": "test", "t10k": "test"}
_SUB_FOLDERS = ("", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "data/fashion")
_PIECE = 1 << 24

Files = dict[Part, dict[Literal["images", "labels"], Path]]


def find_idx(folder: Path, below: Sequence[str] = _SUB_FOLDERS) -> Files:
    """The idx files of a folder by split: `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte` ...; {} without any.

    Raises:
        OSError: the folder can't be read.
        ConvatlasError: it holds several sets.
    """
    for sub in below:
        place = folder / sub
        files: Files = {}
        sets: set[str] = set()
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            match = _NAME.fullmatch(file.name)
            if match is not None and file.is_file():
                role: Literal["images", "labels"] = "images" if match[3].lower() == "images" else "labels"
                sets.add((match[1] or "").rstrip("-"))
                files.setdefault(_PARTS[match[2].lower()], {}).setdefault(role, file)
        if len(sets) > 1:
            raise ConvatlasError(f"{place} holds idx files of {', '.join(sorted(sets))}; expected a folder for each")
        if files:
            return {part: files[part] for part in ("train", "test") if part in files}
    return {}


def read_idx(files: Files) -> dict[Part, ArraySplit]:
    """The splits of a folder.

    Raises:
        ConvatlasError: images without labels or the other way round, or a file that is damaged or of another shape.
    """
    parts: dict[Part, ArraySplit] = {}
    for part, its in files.items():
        if len(its) < 2:
            present = next(iter(its.values()))
            missing = "labels" if "images" in its else "images"
            raise ConvatlasError(f"{present.parent} has {present.name} and no {missing} of the {part} split beside it")
        images, labels = _read(its["images"], 3), _read(its["labels"], 1)
        if len(images) != len(labels) or len(images) == 0:
            raise ConvatlasError(
                f"{its['images']} has {len(images):,} images and {its['labels'].name} {len(labels):,} labels; expected "
                "one label for each"
            )
        parts[part] = ArraySplit(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)))
    return parts


def _read(path: Path, axes: int) -> np.ndarray:
    """uint8 (N, H, W) or (N,)"""
    content = _unpack(path)
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes((0, 0, 8, axes)):
        raise ConvatlasError(f"{path} is not an idx file of bytes in {axes} axes; expected it as it was distributed")
    shape = struct.unpack(f">{axes}I", content[4:start])
    size = 1
    for length in shape:
        size *= length
    if size != len(content) - start or 0 in shape[1:]:
        raise ConvatlasError(f"{path} says {' x '.join(map(str, shape))} bytes and has {len(content) - start:,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _unpack(path: Path) -> bytes:
    content = read_bytes(path)
    if not content.startswith(b"\x1f\x8b"):
        return content
    pieces, total = [], 0
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(_PIECE):
                pieces.append(piece)
                total += len(piece)
                check_unpacked(total, path, len(content))
    except (OSError, EOFError, zlib.error) as error:
        raise ConvatlasError(f"{path} is not a whole .gz file: {error}") from error
    return b"".join(pieces)
