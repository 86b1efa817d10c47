"""Readers of the formats in which weights were released, one module each: bytes in, named tensors out.

No reader executes what it reads, and none allocates on a file's word: sizes are checked against the bytes that are
there, nesting is limited, and what a file unfolds to is held to the limit of `convatlas.data.limits`.
"""

import mmap
from collections.abc import Callable
from pathlib import Path

import torch

from convatlas.weights.formats import caffe, darknet, deep_compression, huffman, matconvnet, torch7
from convatlas.weights.formats.contents import Contents, damaged

Reader = Callable[[memoryview, object], Contents]
BYTES = "bytes"


def _read_net(data: memoryview, source: object) -> Contents:
    """Torch7 or Deep Compression, which share an ending; the latter's bytes await a table of layers."""
    if torch7.looks_like_it(data):
        return torch7.read(data, source)
    return Contents("Deep Compression", {BYTES: torch.frombuffer(bytearray(data), dtype=torch.uint8)})


def _read_keras(data: memoryview, source: object) -> Contents:
    from convatlas.weights.formats import keras  # h5py is slow to import

    return keras.read(data, source)


READERS: dict[str, Reader] = {
    ".caffemodel": caffe.read,
    ".mat": matconvnet.read,
    ".weights": darknet.read,
    ".t7": torch7.read,
    ".net": _read_net,
    ".huff": huffman.read,
    ".h5": _read_keras,
    ".hdf5": _read_keras,
    ".keras": _read_keras,
}


def read_foreign(path: Path, ending: str | None = None) -> Contents:
    """The contents of a file whose ending, or `ending`, is one of `READERS`.

    Raises:
        ConvatlasError: it is empty, damaged, or of another format than its ending says.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise damaged(path, "it is empty") from error
    try:
        return READERS[ending or path.suffix.lower()](memoryview(mapped), path)
    except MemoryError as error:
        raise damaged(path, "it takes more memory than there is") from error
    except (RuntimeError, OverflowError, RecursionError) as error:  # torch's and numpy's own bounds
        raise damaged(
            path, f"damaged ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error


__all__ = ["BYTES", "READERS", "Contents", "damaged", "darknet", "deep_compression", "read_foreign"]
