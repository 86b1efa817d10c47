"""MATLAB's level 5 MAT-files, compressed or not: numbers, text, cells and structs as plain values.

Follows  "MAT-File Format" of The MathWorks. Objects, functions and sparse matrices come as None.
"""

import math
import zlib
from typing import Any

import numpy as np

from convatlas.weights.formats.contents import Cursor, Room, damaged

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_MAX_DEPTH = 32
_MAX_AXES = 32
_TAG = 8  # bytes, the least that a value takes


def read_variables(data: memoryview, source: object) -> dict[str, Any]:
    """The variables of a file: arrays with MATLAB's order of axes, str, lists (cells) and dicts (structs).

    An array of structs is a list of dicts; cells and arrays of structs of several axes are flattened column by column.

    Raises:
        ConvatlasError: damaged, nested too deep, or inflates to more than the limit.
    """
    head = bytes(data[:_HEADER])
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    if order is None:
        kind = (
            "a MATLAB 7.3 file, which is HDF5; save it with -v7" if b"HDF5" in head or head[:5] == b"\x89HDF\r" else ""
        )
        raise damaged(source, kind or "expected a MATLAB 5 file")
    cursor = Cursor(data, source, order)
    cursor.take(_HEADER)
    reader = _Reader(source, Room(source, len(data)))
    variables = {}
    while cursor.left >= _TAG:
        kind, body = reader.element(cursor)
        if kind == _COMPRESSED:
            kind, body = reader.element(Cursor(reader.inflate(body), source, order))
        if kind == _MATRIX:
            name, value = reader.matrix(Cursor(body, source, order), 0)
            variables[name] = value
    return variables


class _Reader:
    def __init__(self, source: object, room: Room) -> None:
        self.source = source
        self.room = room

    def inflate(self, body: memoryview) -> memoryview:
        try:
            data = zlib.decompressobj().decompress(body, self.room.left + 1)
        except zlib.error as error:
            raise damaged(self.source, f"a compressed variable is damaged: {error}") from error
        self.room.take(len(data))
        return memoryview(data)

    def element(self, cursor: Cursor) -> tuple[int, memoryview]:
        """(type, bytes) of the next element; a small one has both in its tag."""
        first = cursor.integer("I")
        if first >> 16:
            body = cursor.take(4)
            if first >> 16 > len(body):
                raise damaged(self.source, f"a small element of {first >> 16} bytes")
            return first & 0xFFFF, body[: first >> 16]
        body = cursor.take(cursor.integer("I"))
        if first != _COMPRESSED:
            cursor.skip_to_multiple(8)
        return first, body

    def array(self, cursor: Cursor) -> np.ndarray:
        """The next element as an array of one axis."""
        kind, body = self.element(cursor)
        if kind not in _NUMBERS:
            raise damaged(self.source, f"data of type {kind}; expected numbers")
        code = np.dtype(cursor.order + _NUMBERS[kind])
        if len(body) % code.itemsize:
            raise damaged(self.source, f"{len(body)} bytes of data of type {kind}")
        return np.frombuffer(body, code)

    def text(self, cursor: Cursor) -> str:
        kind, body = self.element(cursor)
        encoding = _TEXTS.get(kind, "latin-1")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if cursor.order == "<" else "-be"
        return str(body, encoding, "replace")

    def matrix(self, cursor: Cursor, depth: int) -> tuple[str, Any]:
        """(name, value) of the body of a matrix element."""
        if depth > _MAX_DEPTH:
            raise damaged(self.source, f"nested deeper than {_MAX_DEPTH}")
        if cursor.left == 0:
            return "", None
        flags = self.array(cursor)
        kind = int(flags[0]) & 0xFF if len(flags) else 0
        if kind > 15:  # functions and opaque objects have another build
            return "", None
        shape = [int(n) for n in self.array(cursor)]
        name = self.text(cursor)
        if len(shape) > _MAX_AXES or min([*shape, 0]) < 0:
            raise damaged(self.source, f"{name or 'a value'} of shape {shape[:_MAX_AXES]}")
        count = math.prod(shape)
        if kind in _CLASSES:
            return name, self.numbers(cursor, name, kind, shape)
        if kind == _CHAR:
            return name, self.text(cursor)
        if kind == _CELL:
            return name, self.values(cursor, count, depth)
        if kind == _STRUCT:
            return name, self.structs(cursor, count, depth)
        return name, None

    def numbers(self, cursor: Cursor, name: str, kind: int, shape: list[int]) -> np.ndarray:
        values = self.array(cursor)
        if len(values) != math.prod(shape):
            raise damaged(self.source, f"{name or 'an array'} of shape {shape} has {len(values)} values")
        self.room.take(len(values) * np.dtype(_CLASSES[kind]).itemsize)  # stored in as few bytes as they fit in
        return values.astype(_CLASSES[kind]).reshape(shape, order="F")

    def values(self, cursor: Cursor, count: int, depth: int) -> list[Any]:
        if count * _TAG > cursor.left:
            raise damaged(self.source, f"{count} values are announced, {cursor.left} bytes are left")
        values = []
        for _ in range(count):
            kind, body = self.element(cursor)
            if kind != _MATRIX:
                raise damaged(self.source, f"an element of type {kind} inside another value")
            values.append(self.matrix(Cursor(body, self.source, cursor.order), depth + 1)[1])
        return values

    def structs(self, cursor: Cursor, count: int, depth: int) -> Any:
        size = self.array(cursor)
        kind, names = self.element(cursor)
        if len(size) != 1 or size[0] < 1 or len(names) % int(size[0]):
            raise damaged(self.source, f"the names of a struct's fields take {len(names)} bytes of type {kind}")
        width = int(size[0])
        fields = [str(names[at : at + width], "latin-1").split("\0")[0] for at in range(0, len(names), width)]
        if not fields:
            return {}
        values = self.values(cursor, count * len(fields), depth)
        structs = [dict(zip(fields, values[at:], strict=False)) for at in range(0, len(values), len(fields))]
        return structs[0] if count == 1 else structs
