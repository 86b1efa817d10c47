"""MatConvNet's networks in MAT-files: SimpleNN (`layers`) and DagNN (`layers` with `params`), bare or as `net`.

Filters are H x W x C x N there. What the file says of its images, `normalization`, becomes the preprocessing; of an
average image the mean of each channel is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.records import Preprocessing
from convatlas.weights.formats.contents import Contents, damaged
from convatlas.weights.formats.mat5 import read_variables

_EPS = 1e-4  # of vl_nnbnorm, which stores mean and sqrt(variance + eps)
_MAX_SIDE = 4096


def read(data: memoryview, source: object) -> Contents:
    """The tensors of all layers, with the preprocessing and the classes where the file has them.

    Raises:
        ConvatlasError: damaged, or no network of MatConvNet.
    """
    variables = read_variables(data, source)
    net = variables.get("net", variables)
    if not isinstance(net, Mapping) or "layers" not in net:
        raise damaged(source, "it has no `layers`; expected a network of MatConvNet")
    tensors: dict[str, Tensor] = {}
    names = []
    for name, kind, values in _layers(net):
        names.append(name)
        tensors |= _tensors(name, kind, values, source)
    if not tensors:
        raise damaged(source, "no layer has weights")
    meta = net.get("meta")
    if not isinstance(meta, Mapping):  # of 2014
        meta = net
    return Contents(
        "MatConvNet",
        tensors,
        layers=tuple(names),
        preprocessing=_preprocessing(meta.get("normalization")),
        classes=_classes(meta.get("classes")),
    )


def _list(value: object) -> Sequence[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _layers(net: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """(name, type, arrays in order) of each layer with any."""
    params = {
        param["name"]: param.get("value")
        for param in _list(net.get("params"))
        if isinstance(param, Mapping) and isinstance(param.get("name"), str)
    }
    for index, layer in enumerate(_list(net["layers"]), start=1):
        if not isinstance(layer, Mapping):
            continue
        name = layer.get("name") if isinstance(layer.get("name"), str) else f"layer{index}"
        if "params" in layer:  # DagNN; of text or numbers, since an empty cell may have been saved as []
            values = [params.get(key) for key in _list(layer["params"]) if isinstance(key, str)]
        elif "weights" in layer:
            values = list(_list(layer["weights"]))
        else:  # of 2014
            values = [layer[key] for key in ("filters", "biases") if key in layer]
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        if arrays:
            yield str(name), str(layer.get("type", "")).lower(), arrays


def _tensors(name: str, kind: str, arrays: list[object], source: object) -> dict[str, Tensor]:
    values = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays]
    if ("norm" in kind or len(values) == 3) and len(values) in (2, 3):
        tensors = {f"{name}.weight": values[0].flatten(), f"{name}.bias": values[1].flatten()}
        if len(values) == 3:
            moments = values[2].reshape(len(values[2]), -1) if values[2].ndim else values[2]
            if moments.ndim != 2 or moments.shape[1] != 2:
                raise damaged(source, f"the moments of {name} are {tuple(values[2].shape)}; expected (channels, 2)")
            tensors[f"{name}.running_mean"] = moments[:, 0].clone()
            tensors[f"{name}.running_var"] = moments[:, 1].square() - _EPS
        return tensors
    filters, *biases = values
    if filters.ndim > 4:
        raise damaged(source, f"the filters of {name} are {tuple(filters.shape)}; expected H x W x C x N")
    filters = filters.reshape(*filters.shape, *[1] * (4 - filters.ndim))
    tensors = {f"{name}.weight": filters.permute(3, 2, 0, 1).contiguous()}
    if biases and biases[0].numel():
        tensors[f"{name}.bias"] = biases[0].flatten()
    return tensors


def _preprocessing(entry: object) -> Preprocessing | None:
    """None where the entry is absent, or is not as MatConvNet writes it."""
    if not isinstance(entry, Mapping):
        return None
    size, average = entry.get("imageSize"), entry.get("averageImage")
    if not isinstance(size, np.ndarray) or size.size < 2 or not isinstance(average, np.ndarray):
        return None
    sides = [float(value) for value in size.flatten()[:2]]
    if not all(1 <= side <= _MAX_SIDE for side in sides) or average.size < 3 or average.size % 3:
        return None
    means = average.reshape(-1, 3, order="F").mean(axis=0).astype(float)  # H x W x 3, 1 x 1 x 3 or 3
    if not np.isfinite(means).all():
        return None
    border = entry.get("border")
    extra = float(border.flatten()[0]) if isinstance(border, np.ndarray) and border.size else 256 - sides[0]
    keep = entry.get("keepAspect")
    stretched = isinstance(keep, np.ndarray) and keep.size > 0 and not keep.flatten()[0]
    return Preprocessing(
        size=(int(sides[0]), int(sides[1])),
        resize="stretch" if stretched else "short_side",
        resize_to=int(sides[0] + min(max(extra, 0), _MAX_SIDE)),
        mean=tuple(float(mean) / 255 for mean in means),
        std=(1 / 255,) * 3,
    )


def _classes(entry: object) -> tuple[str, ...] | None:
    described = entry.get("description") if isinstance(entry, Mapping) else None
    if not isinstance(described, list) or not all(isinstance(name, str) for name in described):
        return None
    return tuple(described)
