"""Torch7's binary serialisation (.t7, .net): nested Lua tables and objects that may refer to each other.

Follows  File.lua, generic/Tensor.c and generic/Storage.c of torch/torch7. Functions in a file are skipped, never run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.weights.formats.contents import Contents, Cursor, Room, damaged

_NIL, _NUMBER, _STRING, _TABLE, _OBJECT, _BOOLEAN = range(6)
_FUNCTION, _OLD_FUNCTION, _RECURSIVE_FUNCTION = 6, 7, 8
_MAX_DEPTH = 120
_MAX_AXES = 32
_DTYPES = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "Cuda": "<f4", "CudaDouble": "<f8", "CudaHalf": "<f2",
    "Long": "<i8", "CudaLong": "<i8", "Int": "<i4", "CudaInt": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1",
    "CudaByte": "u1",
}  # fmt: skip
_ENTRIES = ("weight", "bias", "running_mean", "running_var")


@dataclass(eq=False)
class TorchObject:
    """An instance of a Lua class with its fields."""

    kind: str  # "nn.SpatialConvolution"
    fields: Any = field(default_factory=dict)


def looks_like_it(data: memoryview) -> bool:
    """Whether the bytes begin with an object or a table that is the first of its file."""
    return bytes(data[:8]) in (b"\x04\0\0\0\x01\0\0\0", b"\x03\0\0\0\x01\0\0\0")


def read(data: memoryview, source: object) -> Contents:
    """The tensors of all layers under their path among the containers, in the order of the forward pass.

    Raises:
        ConvatlasError: damaged, nested too deep, or no layer has weights.
    """
    tensors: dict[str, Tensor] = {}
    room = Room(source, len(data))  # layers may share their storage
    for path, layer in _leaves(_Reader(data, source).value(0), "", set()):
        room.take(sum(4 * value.numel() for value in layer.values() if isinstance(value, Tensor)))
        for entry in _ENTRIES:
            if isinstance(layer.get(entry), Tensor):
                tensors[f"{path}.{entry}"] = layer[entry].float()
        if isinstance(layer.get("running_std"), Tensor) and f"{path}.running_var" not in tensors:
            # of 2015 and before; it holds 1 / sqrt(variance + eps)
            eps = layer.get("eps", 1e-5)
            tensors[f"{path}.running_var"] = layer["running_std"].double().pow(-2).sub(eps).float()
    if not tensors:
        raise damaged(source, "no layer has weights; expected a network that Torch7 saved")
    return Contents("Torch7", tensors)


def _leaves(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """(path, fields) of the layers with weights, in order; what is referred to again is not listed again."""
    fields = value.fields if isinstance(value, TorchObject) else value
    if not isinstance(fields, dict) or id(fields) in seen:
        return
    seen.add(id(fields))
    if isinstance(fields.get("weight"), Tensor) or isinstance(fields.get("running_mean"), Tensor):
        yield path or "layer", fields
        return
    inner = fields.get("modules", fields if not isinstance(value, TorchObject) else {})
    if not isinstance(inner, dict):
        return
    for key in sorted(inner, key=lambda key: (isinstance(key, str), key)):
        name = f"{key:g}" if isinstance(key, float) else str(key)
        yield from _leaves(inner[key], f"{path}.{name}" if path else name, seen)


class _Reader:
    """Reads values one after the other; objects that were read before come again as themselves."""

    def __init__(self, data: memoryview, source: object) -> None:
        self.cursor = Cursor(data, source)
        self.source = source
        self.known: dict[int, Any] = {}

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise damaged(self.source, f"nested deeper than {_MAX_DEPTH} at byte {self.cursor.position}")
        kind = self.cursor.integer()
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return self.cursor.double()
        if kind == _STRING:
            return self.text()
        if kind == _BOOLEAN:
            return self.cursor.integer() == 1
        if kind == _FUNCTION:
            return self.function(depth)
        if kind not in (_TABLE, _OBJECT, _OLD_FUNCTION, _RECURSIVE_FUNCTION):
            raise damaged(self.source, f"type {kind} before byte {self.cursor.position}; expected a Torch7 file")
        index = self.cursor.integer()
        if index in self.known:
            return self.known[index]
        if kind == _TABLE:
            return self.table(index, depth)
        if kind == _OBJECT:
            return self.instance(index, depth)
        self.known[index] = None
        return self.function(depth)

    def text(self) -> str:
        return str(self.cursor.take(self.cursor.integer()), "latin-1")

    def function(self, depth: int) -> None:
        self.cursor.take(self.cursor.integer())  # its code
        self.value(depth + 1)  # its surroundings

    def table(self, index: int, depth: int) -> dict[Any, Any]:
        table: dict[Any, Any] = {}
        self.known[index] = table
        for _ in range(self.cursor.integer()):
            key = self.value(depth + 1)
            value = self.value(depth + 1)
            if isinstance(key, (str, float)) and key == key:
                table[key] = value
        return table

    def instance(self, index: int, depth: int) -> Any:
        name = self.text()
        if name.startswith("V "):  # files of old begin with the class
            name = self.text()
        package, _, kind = name.rpartition(".")
        if package == "torch" and kind.removesuffix("Storage") in _DTYPES and kind.endswith("Storage"):
            self.known[index] = storage = self.storage(_DTYPES[kind.removesuffix("Storage")])
            return storage
        if package == "torch" and kind.removesuffix("Tensor") in _DTYPES and kind.endswith("Tensor"):
            self.known[index] = tensor = self.tensor(depth)
            return tensor
        instance = TorchObject(name)
        self.known[index] = instance
        instance.fields = self.value(depth + 1)
        return instance

    def storage(self, code: str) -> Tensor:
        size = self.cursor.integer("q") * np.dtype(code).itemsize
        return torch.from_numpy(np.frombuffer(bytearray(self.cursor.take(size)), code))

    def tensor(self, depth: int) -> Tensor:
        axes = self.cursor.integer()
        if not 0 <= axes <= _MAX_AXES:
            raise damaged(self.source, f"a tensor of {axes} axes before byte {self.cursor.position}")
        shape = self.cursor.integers("q", axes)
        strides = self.cursor.integers("q", axes)
        offset = self.cursor.integer("q") - 1
        storage = self.value(depth + 1)
        if not isinstance(storage, Tensor):  # an empty tensor has none
            return torch.zeros(0)
        if min((*shape, *strides, 0)) < 0 or offset < 0:
            raise damaged(self.source, f"a tensor of shape {shape}, strides {strides} and offset {offset + 1}")
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        count = int(np.prod(shape, dtype=object)) if axes else 0
        if count == 0:
            return torch.zeros(0)
        if last >= storage.numel() or count > storage.numel():  # or it would unfold to more than there is
            raise damaged(self.source, f"a tensor of shape {shape} in a storage of {storage.numel()} values")
        return storage.as_strided(shape, strides, offset)
