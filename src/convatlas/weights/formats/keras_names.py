"""How Keras calls its layers and their variables, from its three generations of files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_NAMES = {  # of a tensor at the end of its name -> torch's
    "kernel": "weight", "W": "weight", "embeddings": "weight", "bias": "bias", "b": "bias", "gamma": "weight",
    "beta": "bias", "moving_mean": "running_mean", "running_mean": "running_mean", "moving_variance": "running_var",
    "running_std": "running_var",  # Keras 1 called the variance so
    "depthwise_kernel": "depthwise.weight", "pointwise_kernel": "pointwise.weight", "alpha": "weight",
}  # fmt: skip
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_RECURRENT = ("kernel", "recurrent_kernel", "bias")
_ORDERS: dict[str, tuple[str, ...]] = {  # of the numbered variables of Keras 3, by the beginning of the layer's class
    "batch_normalization": _NORM, "separable_conv": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "depthwise_conv": ("depthwise_kernel", "bias"), "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"), "p_re_lu": ("alpha",), "embedding": ("embeddings",),
    "lstm": _RECURRENT, "gru": _RECURRENT, "simple_rnn": _RECURRENT, "normalization": ("mean", "variance", "count"),
}  # fmt: skip
_LEFT_OUT = re.compile(r"optimizer|seed_generator|_random_generator|compile_metrics|metrics?|loss_tracker|_tracker$")
_MAX_DEPTH = 32


@dataclass(frozen=True)
class LayerName:
    """A layer's full name, its class as Keras writes it in keys ("conv2d"), and the layers inside it by their keys."""

    name: str
    kind: str
    children: dict[str, "LayerName"] = field(default_factory=dict)
    listed: bool = False  # a list of layers, whose members have names of their own


def join(above: str, name: str) -> str:
    """One name of both, either of which may be empty."""
    return f"{above}.{name}" if above and name else above or name


def is_left_out(key: str) -> bool:
    """Whether a group belongs to training, not to the network."""
    return _LEFT_OUT.match(key) is not None


def places(names: Sequence[str], layer: str) -> list[tuple[str, str]]:
    """(layer inside, entry) of the tensors of a layer of the first two generations, by their full names.

    "conv1_1/kernel:0" and "convolution2d_1_W" are entries of the layer itself. Only where a layer has tensors of
    several, as a nested model has, do the names of those inside count: "encoder/conv1/kernel" is ("conv1", "kernel").
    """
    found = []
    for name in names:
        path, _, entry = name.rpartition(":")[0 if ":" in name else 2].rpartition("/")
        inner = f"/{path}/"
        if layer and f"/{layer}/" in inner:
            inner = inner[inner.index(f"/{layer}/") + len(layer) + 1 :]
        found.append((inner.strip("/").replace("/", "."), entry.removeprefix(f"{layer}_")))
    if len({place for place, _ in found}) == 1:
        return [("", entry) for _, entry in found]
    return found


def entry_names(layer: LayerName, arrays: Sequence[np.ndarray]) -> tuple[str, ...]:
    """The names of a layer's numbered variables, by its class or, where that is unknown, by their shapes."""
    count = len(arrays)
    vectors = all(array.ndim == 1 and array.shape == arrays[0].shape for array in arrays)
    names = next((names for kind, names in _ORDERS.items() if layer.kind.startswith(kind)), None)
    if names is None and vectors:
        names = _NORM if count in (3, 4) else ("gamma", "beta") if count == 2 else ()
    elif names is None:
        kernel = arrays[0].ndim >= 2
        names = ("kernel", "bias") if kernel and count <= 2 else _RECURRENT if kernel and count == 3 else ()
    if names == _NORM and count == 3:  # without gamma
        names = names[1:]
    return tuple(names[index] if index < len(names) else f"variable{index}" for index in range(count))


def torch_name(name: str, array: np.ndarray, bias: np.ndarray | None, kind: str) -> str:
    """torch's name of an entry; a depthwise kernel is called "kernel" in some files."""
    if name == "kernel" and array.ndim == 4:
        height_width_channels = array.shape[2] * array.shape[3]
        few = bias is not None and len(bias) == height_width_channels != array.shape[3]
        if kind.startswith("depthwise_conv") or few:
            return "depthwise.weight"
    return _NAMES.get(name, name)


def children(config: object, depth: int = 0) -> dict[str, LayerName]:
    """The layers of a model by their keys in the file, from its config; {} where that lists none."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    names: dict[str, LayerName] = {}
    counts: dict[str, int] = {}
    for layer in layers if isinstance(layers, list) and depth < _MAX_DEPTH else []:
        if not isinstance(layer, Mapping) or not isinstance(layer.get("class_name"), str):
            continue
        kind = snake(layer["class_name"])
        counts[kind] = counts.get(kind, -1) + 1
        entry = layer.get("config")
        name = layer.get("name") or (entry.get("name") if isinstance(entry, Mapping) else None)
        if isinstance(name, str):
            key = f"{kind}_{counts[kind]}" if counts[kind] else kind
            names[key] = LayerName(name, kind, children(layer, depth + 1))
    return names


def snake(name: str) -> str:
    """As Keras does it: SeparableConv2D -> separable_conv2d, PReLU -> p_re_lu."""
    out = ""
    for index, letter in enumerate(name):
        starts = letter.isupper() and index > 0 and (
            name[index - 1].islower() or (index + 1 < len(name) and name[index + 1].islower())
        )  # fmt: skip
        out += f"_{letter.lower()}" if starts else letter.lower()
    return out
