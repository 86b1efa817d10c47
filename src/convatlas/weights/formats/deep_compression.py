"""The container in which Deep Compression released SqueezeNet: sparse weights, shared through a codebook.

Han, Mao, Dally, "Deep Compression", ICLR 2016, arXiv:1510.00149. The layout is
that of decode.py in songhan/SqueezeNet-Deep-Compression.

For all layers the number of stored codes (u32); then for each layer 256 float32 shared weights, its float32 biases, a
code for each stored weight (u8), and two 4-bit gaps a byte, the lower half first. A gap is the number of zeros before
a stored weight; a stored weight of 0 fills a gap of more than 15.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from convatlas.errors import ConvatlasError
from convatlas.weights.formats.contents import Contents, Cursor, damaged

CODEBOOK = 256
MAX_GAP = 15
Table = dict[str, tuple[int, ...]]  # layer -> the shape of its weights


def size_of(counts: Iterable[int], table: Table) -> int:
    """Bytes that a file with these numbers of codes has."""
    return sum(
        4 + 4 * CODEBOOK + 4 * shape[0] + count + (count + 1) // 2
        for count, shape in zip(counts, table.values(), strict=True)
    )


def fits(data: memoryview, table: Table) -> bool:
    """Whether the counts at the beginning account for all bytes of the file."""
    if len(data) < 4 * len(table):
        return False
    counts = np.frombuffer(data[: 4 * len(table)], "<u4").tolist()
    return size_of(counts, table) == len(data)


def read(data: memoryview, source: object, table: Table) -> Contents:
    """The weights and biases of the layers of a table, in its order.

    Raises:
        ConvatlasError: damaged, or of another network.
    """
    if not fits(data, table):
        raise damaged(source, f"its {len(data)} bytes are not what {len(table)} compressed layers of these sizes take")
    cursor = Cursor(data, source)
    counts = cursor.integers("I", len(table))
    tensors = {}
    for (layer, shape), count in zip(table.items(), counts, strict=True):
        codebook = np.frombuffer(cursor.take(4 * CODEBOOK), "<f4")
        biases = np.frombuffer(cursor.take(4 * shape[0]), "<f4")
        codes = np.frombuffer(cursor.take(count), np.uint8)
        packed = np.frombuffer(cursor.take((count + 1) // 2), np.uint8)
        gaps = np.stack([packed & MAX_GAP, packed >> 4], axis=1).reshape(-1)[:count]
        places = np.cumsum(gaps.astype(np.int64) + 1) - 1
        dense = np.zeros(int(np.prod(shape)), np.float32)
        if count and places[-1] >= len(dense):
            raise damaged(source, f"{layer} has a weight at place {places[-1]} of {len(dense)}")
        dense[places] = codebook[codes]
        tensors[f"{layer}.weight"] = torch.from_numpy(dense).reshape(shape)
        tensors[f"{layer}.bias"] = torch.from_numpy(biases.astype(np.float32))
    return Contents("Deep Compression", tensors, layers=tuple(table))


def encode(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of all weights, 0 for none, as (stored codes, gaps before them), both uint8.

    Where more than 15 zeros lie before a weight, each 16th of them is stored as code 0.
    """
    places = np.flatnonzero(codes)
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps // (MAX_GAP + 1)
    ends = np.cumsum(fillers + 1) - 1  # of the weights among what is stored
    stored = np.zeros(int(ends[-1]) + 1 if len(ends) else 0, np.uint8)
    spaces = np.full(len(stored), MAX_GAP, np.uint8)
    stored[ends] = codes[places]
    spaces[ends] = gaps % (MAX_GAP + 1)
    return stored, spaces


def write(layers: Mapping[str, tuple[np.ndarray, np.ndarray, Tensor]]) -> bytes:
    """The container of layers, each (codebook, codes of all weights, biases). Code 0 means 0.

    Raises:
        ConvatlasError: a codebook has more than 256 values, or its first is not 0.
    """
    counts, bodies = [], []
    for layer, (codebook, codes, biases) in layers.items():
        if len(codebook) > CODEBOOK or codebook[0] != 0:
            raise ConvatlasError(
                f"{layer} has a codebook of {len(codebook)} from {codebook[0]}; expected {CODEBOOK} from 0"
            )
        stored, gaps = encode(codes.reshape(-1))
        nibbles = np.append(gaps, np.zeros(len(gaps) % 2, np.uint8))
        counts.append(len(stored))
        padded = np.pad(codebook.astype("<f4"), (0, CODEBOOK - len(codebook)))
        packed = nibbles[::2] | nibbles[1::2] << 4
        values = biases.detach().cpu().numpy().astype("<f4")
        bodies += [padded.tobytes(), values.tobytes(), stored.tobytes(), packed.astype(np.uint8).tobytes()]
    return np.array(counts, "<u4").tobytes() + b"".join(bodies)
