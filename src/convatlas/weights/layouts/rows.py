"""Files that hold values without names: Darknet's and Deep Compression's. The network's own layers cut them up."""

import math

import torch
from torch import nn

from convatlas import registry
from convatlas.blocks.dims import CONVS
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing
from convatlas.weights.formats import BYTES, Contents, darknet, deep_compression
from convatlas.weights.formats.contents import MisfitError
from convatlas.weights.layouts.caffe import GOOGLENET_MEAN, images
from convatlas.weights.layouts.layout import Translated, card_for, pairs, skeleton

FORMATS = ("Darknet", "Deep Compression")
# Darknet's crop layer makes 2x - 1 of values in 0..1, in all three cfg files
_YOLO = Preprocessing((448, 448), 3, "stretch", 448, (0.5,) * 3, (0.5,) * 3)
_DARKNET = {
    "vgg_d": ("vgg-16", Preprocessing((224, 224), 3, "stretch", 256, (0.5,) * 3, (0.5,) * 3)),
    "yolov1": ("yolo of 2015", _YOLO),
    "yolov1_fast_tiny_2015cfg": ("yolo-tiny of 2015", _YOLO),
}
_COMPRESSED = {
    name: ("SqueezeNet_v1.0", images(227, GOOGLENET_MEAN)) for name in ("squeezenet_v1_0_caffe_pad1", "squeezenet_v1_0")
}


def translate(contents: Contents, source: object, network: str | None) -> Translated | None:
    """Cut up as the layers of `network`, or of the known release whose size this is.

    Raises:
        ConvatlasError: the file's size is not that of `network`.
    """
    known = _DARKNET if contents.format == "Darknet" else _COMPRESSED
    wanted = None if network is None else registry.card(network).name
    for name in known if wanted is None else (wanted,):
        tensors = _cut(contents, source, name)
        if tensors is not None:
            release, preprocessing = known.get(name, (name, None))
            darknet_ = contents.format == "Darknet"
            return tensors, card_for(
                name,
                tensors,
                classes=None
                if darknet_ or name not in known
                else "imagenet",  # Darknet's names are in an order of its own
                preprocessing=preprocessing,
                settings={},
                source=f"{contents.format}: {release}",
            )
    if wanted is not None:
        raise MisfitError(f"weights {source} have another size than the layers of {wanted} take in {contents.format}")
    return None


def _cut(contents: Contents, source: object, network: str) -> dict[str, torch.Tensor] | None:
    """None where the size is another one."""
    if contents.format == "Darknet":
        steps = darknet_steps(skeleton(network))
        values = contents.tensors[darknet.VALUES]
        return darknet.unroll(contents.tensors, steps) if darknet.length(steps) == values.numel() else None
    data = memoryview(bytes(contents.tensors[BYTES].numpy()))
    table = compression_table(skeleton(network))
    if not deep_compression.fits(data, table):
        return None
    return deep_compression.read(data, source, table).tensors


def darknet_steps(net: nn.Module) -> list[darknet.Step]:
    """The layers of a network as Darknet writes them, in the order in which they were registered."""
    norms = dict(pairs(net))
    return [
        darknet.Step(path, tuple(layer.weight.shape), norms.get(path))
        for path, layer in net.named_modules()
        if isinstance(layer, (*CONVS, nn.Linear))
    ]


def compression_table(net: nn.Module) -> deep_compression.Table:
    """The convolutions and fully connected layers of a network and the shapes of their weights.

    Raises:
        ConvatlasError: a layer has no biases, or the network has weights of another kind.
    """
    table = {
        path: tuple(layer.weight.shape) for path, layer in net.named_modules() if isinstance(layer, (*CONVS, nn.Linear))
    }
    held = sum(math.prod(shape) + shape[0] for shape in table.values())
    if held != sum(parameter.numel() for parameter in net.parameters()):
        raise ConvatlasError(
            f"Deep Compression holds weights and biases of convolutions and fully connected layers; "
            f"{type(net).__name__} has others, or lacks biases"
        )
    return table
