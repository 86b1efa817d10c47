"""A container of our own for compressed networks: sparse shared weights with Huffman's codes, and the weights' card.

Han, Mao, Dally, "Deep Compression", ICLR 2016, arXiv:1510.00149, section 4. The paper's own container (see
`deep_compression`) has no such codes.

"HUFFNET", the version (u8), CRC-32 of all that follows (u32), the size of a header (u32), and the header, a JSON object
of the "card" and of "layers", (name, shape of weights) in the file's order. Then for each layer the number of stored
weights (u32) and of shared ones (u8), these and its biases (float32), the lengths of the codes for 0 and each shared
weight and for gaps of 0 to 15 (u8), the sizes of coded weights and gaps (u32), and these. Numbers are little-endian.

A gap is the number of zeros before a stored weight. A stored weight of 0 fills a gap of more than 15, also after the
last weight, so that a layer's size is at most 256 times that of its codes: no file unfolds to more.
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.data.limits import parse_json
from convatlas.errors import ConvatlasError
from convatlas.weights.formats import deep_compression, prefix_code
from convatlas.weights.formats.contents import Contents, Cursor, Room, damaged
from convatlas.weights.formats.deep_compression import MAX_GAP

MAGIC = b"HUFFNET\x01"
_SPAN = MAX_GAP + 1  # weights that one stored weight accounts for at most


@dataclass(frozen=True)
class Coded:
    """A layer as the container holds it."""

    shape: tuple[int, ...]  # of the weights
    data: bytes


def encode(codebook: np.ndarray, codes: np.ndarray, biases: Tensor) -> Coded:
    """A layer of shared weights: the codebook, the place there of each weight, and float32 biases. Code 0 means 0.

    Raises:
        ConvatlasError: a codebook has more than 256 values, or its first is not 0.
    """
    if not 1 <= len(codebook) <= deep_compression.CODEBOOK or codebook[0] != 0:
        raise ConvatlasError(f"a codebook has {len(codebook)} values; expected 1 to 256, the first of them 0")
    stored, gaps = deep_compression.encode(codes.reshape(-1))
    behind = (codes.size - int((gaps.astype(np.int64) + 1).sum())) // _SPAN
    stored = np.concatenate([stored, np.zeros(behind, np.uint8)])
    gaps = np.concatenate([gaps, np.full(behind, MAX_GAP, np.uint8)])
    lengths = [
        prefix_code.code_lengths(np.bincount(symbols, minlength=alphabet).tolist())
        for symbols, alphabet in ((stored, len(codebook)), (gaps, _SPAN))
    ]
    streams = [prefix_code.encode(symbols, own) for symbols, own in zip((stored, gaps), lengths, strict=True)]
    return Coded(codes.shape, b"".join([
        struct.pack("<IB", len(stored), len(codebook) - 1), codebook[1:].astype("<f4").tobytes(),
        biases.detach().cpu().numpy().astype("<f4").tobytes(), *map(bytes, lengths),
        struct.pack("<II", *map(len, streams)), *streams,
    ]))  # fmt: skip


def write(layers: Mapping[str, Coded], card: Mapping[str, Any]) -> bytes:
    """The file of these layers, in their order."""
    shapes = [(name, list(layer.shape)) for name, layer in layers.items()]
    header = json.dumps({"card": dict(card), "layers": shapes}, ensure_ascii=False, separators=(",", ":")).encode()
    body = b"".join([struct.pack("<I", len(header)), header, *(layer.data for layer in layers.values())])
    return MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def read(data: memoryview, source: object) -> Contents:
    """The weights and biases of all layers, and the card, which is any object yet.

    Raises:
        ConvatlasError: damaged, or of another version.
    """
    cursor = Cursor(data, source)
    magic = bytes(cursor.take(len(MAGIC)))
    if magic != MAGIC:
        raise damaged(source, f"it begins with {magic!r}, expected {MAGIC!r}")
    if cursor.integer("I") != zlib.crc32(data[cursor.position :]):
        raise damaged(source, "its checksum is not that of its contents")
    card, shapes = _header(bytes(cursor.take(cursor.integer("I"))), source)
    tensors, room = {}, Room(source, len(data))
    for name, shape in shapes.items():
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = _layer(cursor, name, shape, room)
    if cursor.left:
        raise damaged(source, f"{cursor.left} bytes are left over after its {len(shapes)} layers")
    return Contents("Huffman", tensors, layers=tuple(shapes), card=card)


def _header(text: bytes, source: object) -> tuple[Any, dict[str, tuple[int, ...]]]:
    try:
        header = parse_json(text.decode(), "its header")
    except (ConvatlasError, UnicodeDecodeError) as error:
        raise damaged(source, str(error)) from error
    layers = header.get("layers") if isinstance(header, dict) else None
    if not isinstance(layers, list) or not header.get("card"):
        raise damaged(source, "its header is no object of a card and layers")
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        match layer:
            case [str(name), [_, *_] as shape] if all(type(length) is int and length > 0 for length in shape):
                shapes[name] = tuple(shape)
            case _:
                raise damaged(source, f"its header has a layer {str(layer)[:60]}; expected a name and a shape")
    return header["card"], shapes


def _layer(cursor: Cursor, name: str, shape: tuple[int, ...], room: Room) -> tuple[Tensor, Tensor]:
    source, size = f"{cursor.source}, layer {name}", math.prod(shape)
    count, shared = cursor.integer("I"), cursor.integer("B")
    codebook = np.frombuffer(bytes(4) + cursor.take(4 * shared), "<f4").astype(np.float32)
    biases = np.frombuffer(cursor.take(4 * shape[0]), "<f4").astype(np.float32)
    lengths = [list(cursor.take(alphabet)) for alphabet in (shared + 1, _SPAN)]
    streams = [cursor.take(length) for length in cursor.integers("I", 2)]
    if not count <= size < _SPAN * (count + 1):
        raise damaged(source, f"{count} stored weights and their gaps can't be {size} weights")
    room.take(4 * size)
    stored, gaps = (
        prefix_code.decode(stream, own, count, source) for stream, own in zip(streams, lengths, strict=True)
    )
    places = np.cumsum(gaps + np.int64(1)) - 1
    last = int(places[-1]) if count else -1
    if not size - _SPAN <= last < size:
        raise damaged(source, f"its stored weights end at place {last} of {size}")
    dense = np.zeros(size, np.float32)
    dense[places] = codebook[stored]
    return torch.from_numpy(dense).reshape(shape), torch.from_numpy(biases)
