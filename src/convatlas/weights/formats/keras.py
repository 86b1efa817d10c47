"""Keras: .h5 of Keras 1 and 2 (weights or whole models), and of Keras 3 .weights.h5 and .keras.

Kernels come in torch's order of axes. HDF5 is read with h5py, which stood 12,000 damaged files without a crash; links
to other files are not followed. A .keras file is a ZIP archive of config.json and model.weights.h5.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from convatlas.structures import ConvatlasError
from convatlas.weights.formats.contents import MAX_RATIO, SLACK, Contents, damaged

_MAX_LAYERS = 10_000
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_NAMES = {  # of a tensor at the end of its name -> torch's
    "kernel": "weight", "W": "weight", "embeddings": "weight", "bias": "bias", "b": "bias", "gamma": "weight",
    "beta": "bias", "moving_mean": "running_mean", "running_mean": "running_mean", "moving_variance": "running_var",
    "running_std": "running_var",  # Keras 1 called the variance so
    "depthwise_kernel": "depthwise.weight", "pointwise_kernel": "pointwise.weight",
}  # fmt: skip
_ORDERS: dict[str, tuple[str, ...]] = {  # of the numbered variables of Keras 3, by the layer's class
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
}


def read(data: memoryview, source: object) -> Contents:
    """The tensors of all layers that have any.

    Raises:
        ConvatlasError: damaged, larger inside than a file of its size can be, or no file of Keras.
    """
    config = None
    try:
        if bytes(data[:4]) == b"PK\x03\x04":
            archive, config, data = _open_archive(data, source)
            archive.close()
        with h5py.File(io.BytesIO(data), "r") as file:
            tensors = _Reader(source, MAX_RATIO * len(data) + SLACK).tensors(file, config)
    except (ConvatlasError, MemoryError):
        raise
    except Exception as error:  # damaged bytes raise whatever they happen to run into
        raise damaged(source, f"cut off, or no file of Keras ({type(error).__name__}: {error})") from error
    if not tensors:
        raise damaged(source, "no layer has weights; expected a file of Keras")
    return Contents("Keras", tensors, layers=tuple(dict.fromkeys(name.rpartition(".")[0] for name in tensors)))


def _open_archive(data: memoryview, source: object) -> tuple[zipfile.ZipFile, Any, memoryview]:
    archive = zipfile.ZipFile(io.BytesIO(data))

    def member(name: str) -> bytes:
        info = archive.getinfo(name)
        if info.file_size > MAX_RATIO * len(data) + SLACK:
            raise damaged(source, f"{name} inflates to {info.file_size} bytes, over {MAX_RATIO} times the file's size")
        with archive.open(info) as file:
            return file.read(info.file_size)

    return archive, json.loads(member(_CONFIG)), memoryview(member(_WEIGHTS))


class _Reader:
    def __init__(self, source: object, room: int) -> None:
        self.source = source
        self.room = room  # bytes that tensors may still take

    def tensors(self, file: h5py.File, config: Any) -> dict[str, Tensor]:
        root = _inside(file, "model_weights") if "model_weights" in file else file
        found = self.old(root) if "layer_names" in root.attrs else self.numbered(file, _class_names(config))
        tensors: dict[str, Tensor] = {}
        for count, (layer, arrays) in enumerate(found):
            if count >= _MAX_LAYERS:
                raise damaged(self.source, f"more than {_MAX_LAYERS} layers")
            tensors |= {f"{layer}.{entry}": value for entry, value in _convert(arrays).items()}
        return tensors

    def old(self, root: h5py.Group) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Keras 1 and 2: names of layers and tensors in attributes."""
        for layer in _strings(root.attrs["layer_names"]):
            group = _inside(root, layer)
            names = _strings(group.attrs["weight_names"])
            yield layer, {_last(name, layer): self.array(_inside(group, name)) for name in names}

    def numbered(self, file: h5py.File, names: Mapping[str, str]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Keras 3: layers/<class>_<number>/vars/0, 1, ..., of which config.json tells the names."""
        layers = _inside(file, "layers") if "layers" in file else _inside(file, "_layer_checkpoint_dependencies")
        for key in layers:
            group = _inside(layers, key)
            variables = _inside(group, "vars") if "vars" in group else None
            if variables is None or len(variables) == 0:
                continue
            stored = variables.attrs.get("name", group.attrs.get("name"))
            layer = names.get(key) or (stored if isinstance(stored, str) else key)
            arrays = [self.array(_inside(variables, str(index))) for index in range(len(variables))]
            yield layer, dict(zip(_order(key, arrays), arrays, strict=False))

    def array(self, dataset: Any) -> np.ndarray:
        if not isinstance(dataset, h5py.Dataset) or dataset.external is not None or dataset.is_virtual:
            raise damaged(self.source, "a tensor is no data set of the file itself")
        size = int(np.prod(dataset.shape, dtype=object)) * max(dataset.dtype.itemsize, 4)
        self.room -= size
        if self.room < 0:
            raise damaged(self.source, f"{dataset.name} of shape {dataset.shape} takes more than the file can hold")
        if dataset.dtype.kind not in "fiu":
            raise damaged(self.source, f"{dataset.name} holds {dataset.dtype}; expected numbers")
        return np.asarray(dataset[()], np.float32)


def _inside(group: Any, name: str) -> Any:
    """A member by its path; links to other files are refused."""
    for part in name.strip("/").split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise KeyError(name)
        group = group[part]
    return group


def _strings(values: Any) -> list[str]:
    return [str(value, "utf-8") if isinstance(value, bytes) else str(value) for value in np.atleast_1d(values)]


def _last(name: str, layer: str) -> str:
    """ "conv1_1/kernel:0" and "convolution2d_1_W" -> "kernel" and "W" """
    return name.split("/")[-1].split(":")[0].removeprefix(f"{layer}_")


def _class_names(config: Any) -> dict[str, str]:
    """<class>_<number> -> the layer's name, from config.json; {} where it lists no layers."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for layer in layers if isinstance(layers, list) else []:
        if not isinstance(layer, Mapping) or not isinstance(layer.get("class_name"), str):
            continue
        kind = _snake(layer["class_name"])
        counts[kind] = counts.get(kind, -1) + 1
        entry = layer.get("config")
        name = layer.get("name") or (entry.get("name") if isinstance(entry, Mapping) else None)
        if isinstance(name, str):
            names[f"{kind}_{counts[kind]}" if counts[kind] else kind] = name
    return names


def _snake(name: str) -> str:
    """As Keras does it: SeparableConv2D -> separable_conv2d."""
    out = ""
    for index, letter in enumerate(name):
        starts = letter.isupper() and index > 0 and (
            name[index - 1].islower() or (index + 1 < len(name) and name[index + 1].islower())
        )  # fmt: skip
        out += f"_{letter.lower()}" if starts else letter.lower()
    return out


def _order(key: str, arrays: list[np.ndarray]) -> tuple[str, ...]:
    """The names of a layer's variables: by the class in its key, without `gamma` where there are only three."""
    for kind, names in _ORDERS.items():
        if key.startswith(kind):
            return names[1:] if kind == "batch_normalization" and len(arrays) == 3 else names
    if len(arrays) in (3, 4) and all(array.ndim == 1 for array in arrays):
        names = _ORDERS["batch_normalization"]
        return names[1:] if len(arrays) == 3 else names
    return ("kernel", "bias")


def _convert(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """torch's names and order of axes."""
    tensors = {}
    bias = arrays.get("b", arrays.get("bias"))
    for name, array in arrays.items():
        entry = _NAMES.get(name, name)
        value = torch.from_numpy(np.ascontiguousarray(array))
        if value.ndim == 4 and entry == "depthwise.weight":  # H x W x C x M -> C M x 1 x H x W
            value = value.permute(2, 3, 0, 1).reshape(-1, 1, *value.shape[:2])
        elif value.ndim == 4 and not _channels_first(name, array, bias):
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.T
        tensors[entry] = value.contiguous()
    return tensors


def _channels_first(name: str, array: np.ndarray, bias: np.ndarray | None) -> bool:
    """Kernels of Keras 1 may be N x C x H x W ("th"); the number of biases tells."""
    return name == "W" and bias is not None and array.shape[0] == len(bias)
