"""Caffe's .caffemodel: a NetParameter message with V1 `layers` (2014) or V2 `layer` (2015 on), each with its blobs.

Follows  caffe.proto of BVLC/caffe, and NVIDIA's fork for half precision (`raw_data`).
"""

import math

import numpy as np
import torch
from torch import Tensor

from convatlas.weights.formats.contents import Contents, Cursor, damaged
from convatlas.weights.formats.protobuf import BYTES, VARINT, fields, varint

_NET_NAME, _NET_V1, _NET_V2 = 1, 2, 100
_V1 = {"name": 4, "type": 5, "blobs": 6}
_V2 = {"name": 1, "type": 2, "blobs": 7}
_V1_TYPES = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 39: "Deconvolution"}
_LEGACY_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_DATA, _SHAPE, _DOUBLE, _RAW_TYPE, _RAW = 5, 7, 8, 10, 12
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
_MAX_AXES = 32  # Caffe's own limit
_ENTRIES = {
    "Convolution": ("weight", "bias"),
    "Deconvolution": ("weight", "bias"),
    "InnerProduct": ("weight", "bias"),
    "Scale": ("weight", "bias"),
    "PReLU": ("weight",),
    "BN": ("weight", "bias"),  # of the forks of SegNet's and DeconvNet's authors
}


def read(data: memoryview, source: object) -> Contents:
    """The blobs of all layers, with batch normalisation's sums divided by their number.

    Raises:
        ConvatlasError: damaged, or no layer has a blob.
    """
    name, layers, tensors = None, [], {}
    for number, wire, value in fields(data, source):
        if number == _NET_NAME and wire == BYTES:
            name = _text(value)
        elif number in (_NET_V1, _NET_V2) and wire == BYTES and isinstance(value, memoryview):
            layer, found = _layer(value, _V1 if number == _NET_V1 else _V2, source)
            layers.append(layer)
            tensors |= found
    if not tensors:
        raise damaged(source, "no layer has weights; expected a .caffemodel")
    return Contents("Caffe", tensors, network=name, layers=tuple(layers))


def _text(value: int | memoryview) -> str:
    return str(value, "utf-8", "replace") if isinstance(value, memoryview) else str(value)


def _layer(message: memoryview, numbers: dict[str, int], source: object) -> tuple[str, dict[str, Tensor]]:
    """The layer's name, and its tensors under "<name>.<entry>"."""
    name, kind, blobs = "", "", []
    for number, wire, value in fields(message, source):
        if number == numbers["name"] and wire == BYTES:
            name = _text(value)
        elif number == numbers["type"]:
            kind = _V1_TYPES.get(value, "") if isinstance(value, int) else _text(value)
        elif number == numbers["blobs"] and isinstance(value, memoryview) and wire == BYTES:
            blobs.append(_blob(value, f"layer {name or '?'} of {source}"))
    if kind == "BatchNorm" and len(blobs) == 3:
        return name, _statistics(name, blobs, source)
    entries = _ENTRIES.get(kind, ())
    tensors = {}
    for index, blob in enumerate(blobs):
        entry = entries[index] if index < len(entries) else f"blob{index}"
        if kind == "BN":  # 1 x C x 1 x 1
            blob = blob.flatten()
        elif entry == "bias" or kind == "InnerProduct":  # before `shape` all blobs had four axes
            blob = blob.reshape(blob.shape[-1:] if entry == "bias" else blob.shape[-2:])
        tensors[f"{name}.{entry}"] = blob
    return name, tensors


def _statistics(name: str, blobs: list[Tensor], source: object) -> dict[str, Tensor]:
    mean, variance, factor = blobs
    if factor.numel() != 1:
        raise damaged(source, f"{name} has {factor.numel()} scale factors; expected one")
    scale = 0.0 if factor.item() == 0 else 1 / factor.item()
    return {f"{name}.running_mean": mean.flatten() * scale, f"{name}.running_var": variance.flatten() * scale}


def _blob(message: memoryview, source: object) -> Tensor:
    legacy, shape, raw_type = {}, None, 1
    pieces: dict[int, list[memoryview]] = {_DATA: [], _DOUBLE: [], _RAW: []}
    for number, wire, value in fields(message, source):
        if isinstance(value, memoryview):
            if number == _SHAPE and wire == BYTES:
                shape = _dims(value, source)
            elif number in pieces:  # packed, or one value at a time
                pieces[number].append(value)
        elif number in _LEGACY_SHAPE and wire == VARINT:
            legacy[number] = value
        elif number == _RAW_TYPE:
            raw_type = value
    if shape is None:
        shape = [legacy.get(number, 1) for number in _LEGACY_SHAPE]
    code, parts = next(
        ((c, pieces[n]) for n, c in ((_DATA, "<f4"), (_DOUBLE, "<f8"), (_RAW, _RAW_TYPES.get(raw_type))) if pieces[n]),
        ("<f4", []),
    )
    if code is None:
        raise damaged(source, f"raw_data of type {raw_type}; expected double, float or half")
    size = sum(len(part) for part in parts)
    item = np.dtype(code).itemsize
    if len(shape) > _MAX_AXES or size % item or math.prod(shape) != size // item:
        shown = " x ".join(map(str, shape[:_MAX_AXES]))
        raise damaged(source, f"a blob of {shown} values has {size // item} of them")
    values = np.frombuffer(b"".join(parts), code).astype(np.float32)
    return torch.from_numpy(values).reshape(shape)


def _dims(message: memoryview, source: object) -> list[int]:
    dims: list[int] = []
    for number, _, value in fields(message, source):
        if number != 1:
            continue
        if isinstance(value, int):
            dims.append(value)
        else:
            cursor = Cursor(value, source)
            while cursor.left and len(dims) <= _MAX_AXES:
                dims.append(varint(cursor))
    return dims
