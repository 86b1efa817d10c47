"""Foreign layouts and how they become ours: one module a source, each release recognised by its layers and shapes."""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from convatlas import registry
from convatlas.weights.formats.contents import Contents
from convatlas.weights.layouts import (
    caffe,
    caffe_dense,
    cifar_resnet,
    keras,
    matconvnet,
    rows,
    timm,
    torch7,
    torchvision,
)
from convatlas.weights.layouts.layout import Layout, Translated, layer_names, skeleton

_LEAST_OVERLAP = 0.5  # of layers, from which on a file may be meant for a network that it does not fit
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")  # torchvision's files of 2017


def translate(tensors: Mapping[str, Tensor]) -> Translated | None:
    """A state dict under our names, and the card of what it is; None where no layout is recognised."""
    return translate_contents(Contents("PyTorch", dict(tensors)), "the weights")


def _dotted(contents: Contents) -> Contents:
    """Slashes and dots in the names of layers are one, as converters took the one for the other."""
    dotted = {name.replace("/", "."): tensor for name, tensor in contents.tensors.items()}
    return replace(contents, tensors=dotted) if len(dotted) == len(contents.tensors) else contents


def translate_contents(contents: Contents, source: object, network: str | None = None) -> Translated | None:
    """The same for any file; where `network` is given only its layouts are tried, also those that fit in part.

    Raises:
        ConvatlasError: a file without names whose size is not that of the network.
    """
    if contents.format in rows.FORMATS:
        return rows.translate(contents, source, network)
    wanted = None if network is None else registry.card(network).name
    contents, layouts = _prepare(_dotted(contents), wanted)
    of_wanted = tuple(layout for layout in layouts if layout.network == wanted)
    layout = (
        _recognised(contents, of_wanted)
        or _recognised(contents, layouts)
        or _recognised(contents, of_wanted, head=False)
        or _recognised(contents, layouts, head=False)
        or _nearest(contents, of_wanted)
    )
    if layout is not None:
        return layout.translate(contents.tensors, format_name=contents.format, stated=contents.preprocessing)
    return cifar_resnet.translate(contents.tensors) if contents.format == "PyTorch" else None


def _prepare(contents: Contents, wanted: str | None) -> tuple[Contents, tuple[Layout, ...]]:
    """The file's names as the tables have them, and the tables of its format."""
    if contents.format == "Caffe":
        return contents, (*caffe.layouts(), *caffe_dense.layouts())
    if contents.format == "MatConvNet":
        return contents, matconvnet.layouts()
    if contents.format == "Keras":
        return replace(contents, tensors=keras.by_place(contents.tensors)), keras.layouts()
    if contents.format == "Torch7":
        return replace(contents, tensors=torch7.numbered(contents.tensors)), torch7.layouts(wanted)
    tensors = {_OLD_DENSENET.sub(r"\1\2.", name): tensor for name, tensor in contents.tensors.items()}
    return replace(contents, tensors=tensors), (*torchvision.layouts(), *timm.layouts())


def _names(contents: Contents) -> frozenset[str]:
    return frozenset(name.rpartition(".")[0] for name in contents.tensors)


def _recognised(contents: Contents, layouts: tuple[Layout, ...], *, head: bool = True) -> Layout | None:
    """The layout whose layers the file has, no more and no less; of several that of the file's network and sizes.

    Without `head`, files that end before the head.
    """
    names = _names(contents)
    same = [layout for layout in layouts if layout.recognises(names, head=head)]
    called = [layout for layout in same if layout.called and layout.called == contents.network]
    ranked = called or [layout for layout in same if layout.called is None] or same
    return next((layout for layout in ranked if _fits(layout, contents)), None)


def _nearest(contents: Contents, layouts: tuple[Layout, ...]) -> Layout | None:
    """The layout that shares most layers with the file, if it is half of them: its error will say what is amiss."""
    names = _names(contents)
    best = max(layouts, key=lambda layout: layout.overlap(names), default=None)
    return best if best is not None and best.overlap(names) >= _LEAST_OVERLAP else None


def _fits(layout: Layout, contents: Contents) -> bool:
    """Whether the file's tensors have as many values as the published network's.

    Other classes or channels are other sizes of the first layer, the last and the auxiliary heads: these are not asked.
    """
    net = skeleton(layout.network)
    first, *_, last = layer_names(net)
    expected = {name: tensor.numel() for name, tensor in net.state_dict().items()}
    for name, tensor in contents.tensors.items():
        layer, _, entry = name.rpartition(".")
        ours = layout.dotted.get(layer, "")
        if ours not in (first, last) and not ours.startswith("aux"):
            count = expected.get(f"{ours}.{entry}")
            if count is not None and count != tensor.numel():
                return False
    return True
