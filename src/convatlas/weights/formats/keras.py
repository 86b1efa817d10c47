"""Keras: .h5 of Keras 1 and 2 (weights or whole models), and of Keras 3 .weights.h5 and .keras.

All tensors come, those of nested and subclassed models too: a layer inside another is called by both, "encoder.conv1".
Kernels come in torch's order of axes. HDF5 is read with h5py, which stood 12,000 damaged files without a crash; links
to other files are not followed. A .keras file is a ZIP archive of config.json and model.weights.h5.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from convatlas.data.limits import parse_json
from convatlas.errors import ConvatlasError
from convatlas.weights.formats.contents import Contents, Room, damaged
from convatlas.weights.formats.keras_names import (
    LayerName,
    children,
    entry_names,
    is_left_out,
    join,
    places,
    torch_name,
)

_MAX_LAYERS = 10_000
_MAX_DEPTH = 32
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_TOP = "top_level_model_weights"  # of subclassed models in .h5: what no layer has


def read(data: memoryview, source: object) -> Contents:
    """The tensors of all layers that have any.

    Raises:
        ConvatlasError: damaged, larger inside than the limit allows, no file of Keras, or two tensors of one name.
    """
    config: Any = None
    try:
        room = Room(source, len(data))
        if bytes(data[:4]) == b"PK\x03\x04":
            config, data = _open_archive(data, source, room)
        with h5py.File(io.BytesIO(data), "r") as file:
            reader = _Reader(source, room)
            tensors = reader.tensors(file, config)
    except (ConvatlasError, MemoryError):
        raise
    except Exception as error:  # damaged bytes raise whatever they happen to run into
        raise damaged(source, f"cut off, or no file of Keras ({type(error).__name__}: {error})") from error
    if not tensors:
        raise damaged(source, "no layer has weights; expected a file of Keras")
    left = tuple(f"without {name}, which is not of the network" for name in reader.left_out)
    layers = tuple(dict.fromkeys(name.rpartition(".")[0] for name in tensors))
    return Contents("Keras", tensors, layers=layers, notes=left)


def _open_archive(data: memoryview, source: object, room: Room) -> tuple[Any, memoryview]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:

        def member(name: str) -> bytes:
            info = archive.getinfo(name)
            room.take(info.file_size)
            with archive.open(info) as file:
                return file.read(info.file_size)

        config = parse_json(str(member(_CONFIG), "utf-8", "replace"), f"{_CONFIG} in {source}")
        return config, memoryview(member(_WEIGHTS))


class _Reader:
    def __init__(self, source: object, room: Room) -> None:
        self.source = source
        self.room = room
        self.left_out: list[str] = []

    def tensors(self, file: h5py.File, config: Any) -> dict[str, Tensor]:
        root = _inside(file, "model_weights") if "model_weights" in file else file
        found = self.old(root) if "layer_names" in root.attrs else self.tree(file, config)
        tensors: dict[str, Tensor] = {}
        for count, (layer, arrays) in enumerate(found):
            if count >= _MAX_LAYERS:
                raise damaged(self.source, f"more than {_MAX_LAYERS} layers")
            for entry, value in _convert(layer, arrays).items():
                name = join(layer.name, entry)
                if name in tensors:
                    raise damaged(self.source, f"two tensors are called {name}; a part would be lost")
                tensors[name] = value
        return tensors

    def old(self, root: h5py.Group) -> Iterator[tuple[LayerName, dict[str, np.ndarray]]]:
        """Keras 1 and 2, and the .h5 of Keras 3: names of layers and tensors in attributes."""
        for layer in _strings(root.attrs["layer_names"]):
            yield from self.named(_inside(root, layer), layer)
        if _TOP in root and len(root[_TOP].attrs.get("weight_names", ())):
            yield from self.named(_inside(root, _TOP), "")

    def named(self, group: h5py.Group, layer: str) -> Iterator[tuple[LayerName, dict[str, np.ndarray]]]:
        """A layer's tensors, or those of the layers inside it, in the order of its list."""
        names = _strings(group.attrs["weight_names"])
        inner: dict[str, dict[str, np.ndarray]] = {}
        for name, (place, entry) in zip(names, places(names, layer), strict=True):
            arrays = inner.setdefault(place, {})
            if entry in arrays:
                raise damaged(self.source, f"two tensors of {layer} are called {name}; a part would be lost")
            arrays[entry] = self.array(_inside(group, name))
        for place, arrays in inner.items():
            yield LayerName(join(layer, place), (place or layer).rpartition(".")[2]), arrays

    def tree(self, file: h5py.File, config: Any) -> Iterator[tuple[LayerName, dict[str, np.ndarray]]]:
        """Keras 3: groups within groups, each with `vars` 0, 1, ..., which config.json or attributes name."""
        stack: list[tuple[h5py.Group, LayerName, dict[str, LayerName], int]] = [
            (file, LayerName("", ""), children(config), 0)
        ]
        while stack:
            group, name, inner, depth = stack.pop()
            if depth > _MAX_DEPTH:
                raise damaged(self.source, f"nested deeper than {_MAX_DEPTH}")
            variables = _inside(group, "vars") if "vars" in group else None
            if isinstance(variables, h5py.Group) and len(variables):
                arrays = [self.array(_inside(variables, str(index))) for index in range(len(variables))]
                yield name, dict(zip(entry_names(name, arrays), arrays, strict=True))
            members = [str(key) for key in group if key != "vars"]
            for key in reversed(members):
                member = _inside(group, key)
                if is_left_out(key):
                    self.left_out.append(join(name.name, key))
                elif isinstance(member, h5py.Group):
                    stack.append(self.member(member, key, name, inner, depth))
                else:
                    raise damaged(self.source, f"{member.name} is a data set outside `vars`; expected a file of Keras")

    def member(
        self, group: h5py.Group, key: str, above: LayerName, inner: dict[str, LayerName], depth: int
    ) -> tuple[h5py.Group, LayerName, dict[str, LayerName], int]:
        """A group within another with the name of its layer; `layers` itself is none."""
        if key in ("layers", "_layer_checkpoint_dependencies"):
            return group, LayerName(above.name, "", listed=True), inner, depth + 1
        known = inner.get(key)
        stored = _stored_name(group)
        own = (known.name if known else stored) if above.listed else key
        kind = known.kind if known else key if above.listed else stored or key
        return group, LayerName(join(above.name, own or key), kind), known.children if known else {}, depth + 1

    def array(self, dataset: Any) -> np.ndarray:
        if not isinstance(dataset, h5py.Dataset) or dataset.external is not None or dataset.is_virtual:
            raise damaged(self.source, "a tensor is no data set of the file itself")
        if dataset.dtype.kind not in "fiu":
            raise damaged(self.source, f"{dataset.name} holds {dataset.dtype}; expected numbers")
        item = max(dataset.dtype.itemsize, 4)
        for shape in filter(None, (dataset.shape, dataset.chunks)):  # a chunk is unpacked as a whole
            self.room.take(int(np.prod(shape, dtype=object)) * item)
        return np.asarray(dataset[()], np.float32)


def _stored_name(group: h5py.Group) -> str | None:
    """What Keras 3.3 and later write beside a layer's variables."""
    holder = group["vars"] if isinstance(group.get("vars", getlink=True), h5py.HardLink) else group
    for attributes in (holder.attrs, group.attrs):
        name = attributes.get("name")
        if isinstance(name, str) and name:
            return name
    return None


def _inside(group: Any, name: str) -> Any:
    """A member by its path; links to other files are refused."""
    for part in name.strip("/").split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise KeyError(name)
        group = group[part]
    return group


def _strings(values: Any) -> list[str]:
    return [str(value, "utf-8") if isinstance(value, bytes) else str(value) for value in np.atleast_1d(values)]


def _convert(layer: LayerName, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """torch's names and order of axes."""
    tensors = {}
    bias = arrays.get("b", arrays.get("bias"))
    for name, array in arrays.items():
        entry = torch_name(name, array, bias, layer.kind)
        value = torch.from_numpy(np.ascontiguousarray(array))
        if value.ndim == 4 and entry == "depthwise.weight":  # H x W x C x M -> C M x 1 x H x W
            value = value.permute(2, 3, 0, 1).reshape(-1, 1, *value.shape[:2])
        elif value.ndim == 4 and not _channels_first(name, array, bias):
            value = value.permute(3, 2, 0, 1)
        elif value.ndim in (3, 5) and layer.kind.startswith(("conv1d", "conv3d")):
            value = value.permute(-1, -2, *range(value.ndim - 2))
        elif value.ndim == 2 and entry != "bias":
            value = value.T
        tensors[entry] = value.contiguous()
    return tensors


def _channels_first(name: str, array: np.ndarray, bias: np.ndarray | None) -> bool:
    """Kernels of Keras 1 may be N x C x H x W ("th"); the number of biases tells."""
    return name == "W" and bias is not None and array.shape[0] == len(bias)
