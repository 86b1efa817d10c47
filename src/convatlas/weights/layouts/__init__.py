"""Foreign layouts and how they become ours: one module a source, each release recognised by its layers and shapes."""

from collections.abc import Mapping

from torch import Tensor

from convatlas import registry
from convatlas.weights.formats.contents import Contents
from convatlas.weights.layouts import (
    caffe,
    cifar_resnet,
    rows,
    torchvision_alexnet,
    torchvision_resnet,
    torchvision_squeezenet,
)
from convatlas.weights.layouts.layout import Layout, Translated, skeleton

_STATE_DICTS = (
    torchvision_resnet.translate,
    torchvision_alexnet.translate,
    torchvision_squeezenet.translate,
    cifar_resnet.translate,
)
_TABLES = {"Caffe": caffe.layouts}
_LEAST_OVERLAP = 0.5  # of layers, from which on a file may be meant for a network that it does not fit


def translate(tensors: Mapping[str, Tensor]) -> Translated | None:
    """A state dict under our names, and the card of what it is; None where no layout is recognised."""
    for layout in _STATE_DICTS:
        if (translated := layout(tensors)) is not None:
            return translated
    return None


def translate_contents(contents: Contents, source: object, network: str | None = None) -> Translated | None:
    """The same for any file; where `network` is given only its layouts are tried, also those that fit in part.

    Raises:
        ConvatlasError: a file without names whose size is not that of the network.
    """
    if contents.format in rows.FORMATS:
        return rows.translate(contents, source, network)
    if contents.format not in _TABLES:
        return translate(contents.tensors)
    layout = _find(contents, _TABLES[contents.format](), network)
    if layout is None:
        return None
    return layout.translate(contents.tensors, format_name=contents.format, stated=contents.preprocessing)


def _find(contents: Contents, layouts: tuple[Layout, ...], network: str | None) -> Layout | None:
    names = frozenset(name.rpartition(".")[0] for name in contents.tensors)
    if network is not None:
        wanted = registry.card(network).name
        layouts = tuple(layout for layout in layouts if layout.network == wanted)
    exact = [layout for layout in layouts if layout.recognises(names)]
    if network is not None and not exact:
        near = max(layouts, key=lambda layout: layout.overlap(names), default=None)
        return near if near is not None and near.overlap(names) >= _LEAST_OVERLAP else None
    called = [layout for layout in exact if layout.called and layout.called == contents.network]
    ranked = called or [layout for layout in exact if layout.called is None] or exact
    return max(ranked, key=lambda layout: _fitting(layout, contents), default=None)


def _fitting(layout: Layout, contents: Contents) -> int:
    """How many of the file's weights have the sizes of the published network."""
    expected = skeleton(layout.network).state_dict()
    return sum(
        f"{layout.layers[layer]}.{entry}" in expected
        and expected[f"{layout.layers[layer]}.{entry}"].numel() == tensor.numel()
        for layer, _, entry in (name.rpartition(".") for name in contents.tensors)
        if layer in layout.layers
        for tensor in (contents.tensors[f"{layer}.{entry}"],)
    )
