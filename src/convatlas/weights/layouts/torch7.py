"""Torch7 releases, whose layers have places and no names: fb.resnet.torch, ResNeXt, DenseNet.

The containers hold the layers in the order of ours, so the table is the order itself, and sizes tell the network.
"""

from collections.abc import Mapping
from functools import cache

from torch import Tensor

from convatlas.structures import Preprocessing
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_PICTURES = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)
_RELEASES = {
    **{f"resnet{depth}": f"fb.resnet.torch resnet-{depth}" for depth in (18, 34)},
    **{f"resnet{depth}_stride3x3": f"fb.resnet.torch resnet-{depth}" for depth in (50, 101, 152)},
    "resnext50_32x4d": "resnext_50_32x4d", "resnext101_32x4d": "resnext_101_32x4d",
    "resnext101_64x4d": "resnext_101_64x4d",
    **{f"densenet{depth}": f"densenet-{depth}" for depth in (121, 161, 169, 201)},
}  # fmt: skip


def layouts(wanted: str | None = None) -> tuple[Layout, ...]:
    """The known releases; for a network of which none is known the order of its layers. Layers are "1", "2", ..."""
    if wanted is not None and wanted not in _RELEASES:
        return (Layout("layers in order", wanted, _in_order(wanted), None, classes=None),)
    return _known()


@cache
def _known() -> tuple[Layout, ...]:
    return tuple(Layout(release, network, _in_order(network), _PICTURES) for network, release in _RELEASES.items())


def _in_order(network: str) -> dict[str, str]:
    return {str(index): name for index, name in enumerate(layer_names(skeleton(network)), start=1)}


def numbered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the place of their layer among those with weights instead of its path."""
    paths = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    places = {path: index for index, path in enumerate(paths, start=1)}
    return {f"{places[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in tensors.items()}
