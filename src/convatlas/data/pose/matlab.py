"""MPII's annotations as released, in Matlab's format 5, which a small hostile file could unfold to gigabytes."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from convatlas.data import limits
from convatlas.structures import ConvatlasError

_HEADER, _COMPRESSED = 128, 15
_STEP = 1 << 20


def read_release(file: Path) -> Any:
    """The variable RELEASE of MPII's file, as scipy reads it.

    Raises:
        ConvatlasError: it is another file, or damaged, or unfolds to more than the limit.
    """
    from scipy.io import loadmat

    content = limits.read_bytes(file)
    for unfolded in _unfold(content):
        limits.check_unpacked(unfolded, file, len(content))
    try:
        return loadmat(BytesIO(content), struct_as_record=False, squeeze_me=True)["RELEASE"]
    except Exception as error:  # scipy's readers of damaged files raise anything
        raise ConvatlasError(f"{file}: not MPII's Matlab file ({type(error).__name__}: {error!s:.100})") from error


def _unfold(content: bytes) -> Iterator[int]:
    """The bytes that the compressed elements take unfolded, as far as they have been."""
    place, total = _HEADER, 0
    order = ">" if content[126:128] == b"MI" else "<"
    while place + 8 <= len(content):
        kind, length = struct.unpack(f"{order}II", content[place : place + 8])
        place += 8
        if kind == _COMPRESSED:
            stream, rest = zlib.decompressobj(), content[place : place + length]
            while rest:
                try:
                    total += len(stream.decompress(rest, _STEP))
                except zlib.error:
                    break  # scipy says what is wrong
                yield total
                rest = stream.unconsumed_tail
        place += length
