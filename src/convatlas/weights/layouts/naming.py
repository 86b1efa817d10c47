"""Renaming the entries of a state dict."""

from collections.abc import Mapping, Sequence

from torch import Tensor


def rename_layers(tensors: Mapping[str, Tensor], layers: Mapping[str, str]) -> dict[str, Tensor]:
    """Each "<layer>.<entry>" under the new name of its layer; entries of other layers keep theirs."""
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, entry = name.rpartition(".")
        renamed[f"{layers[layer]}.{entry}" if layer in layers else name] = tensor
    return renamed


def count_blocks(tensors: Mapping[str, Tensor], stages: Sequence[str]) -> tuple[int, ...]:
    """How many blocks "<stage>.0", "<stage>.1", ... each stage has, by their first convolutions."""
    return tuple(
        sum(name.startswith(f"{stage}.") and name.endswith(".conv1.weight") for name in tensors) for stage in stages
    )
