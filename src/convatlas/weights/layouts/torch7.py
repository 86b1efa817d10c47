"""Torch7 releases, whose layers have places and no names: fb.resnet.torch, ResNeXt, DenseNet and ENet.

The containers hold the layers in the order of ours, so the table is the order itself, and sizes tell the network.
"""

from collections.abc import Mapping
from functools import cache, partial

from torch import Tensor

from convatlas.records import Preprocessing
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_IMAGES = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)
_RELEASES = {  # network -> what its authors call it, and how many layers it has
    "resnet18": ("fb.resnet.torch resnet-18", 41),
    "resnet34": ("fb.resnet.torch resnet-34", 73),
    "resnet50_stride3x3": ("fb.resnet.torch resnet-50", 107),
    "resnet101_stride3x3": ("fb.resnet.torch resnet-101", 209),
    "resnet152_stride3x3": ("fb.resnet.torch resnet-152", 311),
    "resnext50_32x4d": ("resnext_50_32x4d", 107),
    "resnext101_32x4d": ("resnext_101_32x4d", 209),
    "resnext101_64x4d": ("resnext_101_64x4d", 209),
    "densenet121": ("densenet-121", 242),
    "densenet161": ("densenet-161", 322),
    "densenet169": ("densenet-169", 338),
    "densenet201": ("densenet-201", 402),
}
_ENETS = {  # the distributed model has PReLUs in its decoder, what decoder.lua makes has none
    "enet_cityscapes_512": ("ENet-training", 255),
    "enet_relu_decoder_512": ("ENet-training decoder.lua", 240),
}
_STREETS = Preprocessing((512, 1024), mean=(0.0,) * 3, std=(1.0,) * 3)  # RGB of 0 to 1


def layouts(wanted: str | None = None) -> tuple[Layout, ...]:
    """The known releases; for a network of which none is known the order of its layers. Layers are "1", "2", ..."""
    if wanted is not None and wanted not in (*_RELEASES, *_ENETS):
        table = _in_order(wanted)
        return (Layout("layers in order", wanted, (len(table),), lambda: table, None, classes=None),)
    return _known()


@cache
def _known() -> tuple[Layout, ...]:
    return (
        *(
            Layout(release, network, (count,), partial(_in_order, network), _IMAGES)
            for network, (release, count) in _RELEASES.items()
        ),
        *(
            Layout(release, network, (count,), partial(_in_order, network), _STREETS, classes="cityscapes_enet")
            for network, (release, count) in _ENETS.items()
        ),
    )


def _in_order(network: str) -> dict[str, str]:
    return {str(index): name for index, name in enumerate(layer_names(skeleton(network)), start=1)}


def numbered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the place of their layer among those with weights instead of its path."""
    paths = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
    places = {path: index for index, path in enumerate(paths, start=1)}
    return {f"{places[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in tensors.items()}
