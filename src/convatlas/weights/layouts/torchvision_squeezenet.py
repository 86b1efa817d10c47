"""torchvision's squeezenet1_0 and squeezenet1_1: features.3.squeeze -> fire2.squeeze1x1, classifier.1 -> conv10.

Conversions of the authors' Caffe weights have the same names and shapes, but other pictures: BGR, in pixel values of
0 to 255. Nothing in the names tells them apart, so the conversions that we know are recognised by a checksum.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convatlas.structures import Preprocessing
from convatlas.weights.cards import make_card
from convatlas.weights.layouts.naming import rename_layers

_PLACES = {  # of fire2 to fire9 among the features, by the shape of the first filters
    (96, 7, 7): ("squeezenet_v1_0", (3, 4, 5, 7, 8, 9, 10, 12)),
    (64, 3, 3): ("squeezenet_v1_1", (3, 4, 6, 7, 9, 10, 11, 12)),
}
_ENDS = {"features.0": "conv1", "classifier.1": "conv10"}
_PARTS = {"squeeze": "squeeze1x1", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}

_PREPROCESSING = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)
_CAFFE_PREPROCESSING = Preprocessing(
    size=(227, 227),
    resize="short_side",
    resize_to=256,
    mean=(123 / 255, 117 / 255, 104 / 255),  # RGB, as everywhere, whatever the order in which the network reads
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="bgr",
)
_CAFFE_FIRST_FILTERS = frozenset(
    {"90e4b9d94ef5875878d9b147a6afdc926ab132b9f81a39ebe0cbb9c649542b62"}  # SHA-256 of the released v1.1's, as float32
)


def translate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Our names and the card, or None: not this layout."""
    if not {"features.0.weight", "features.3.squeeze.weight", "classifier.1.weight"} <= tensors.keys():
        return None
    first, last = tensors["features.0.weight"], tensors["classifier.1.weight"]
    if first.ndim != 4 or last.ndim != 4:
        return None
    filters, in_channels, height, width = first.shape
    if (filters, height, width) not in _PLACES:
        return None
    network, places = _PLACES[filters, height, width]
    layers = {
        f"features.{place}.{theirs}": f"fire{number}.{ours}"
        for number, place in enumerate(places, start=2)
        for theirs, ours in _PARTS.items()
    }
    checksum = hashlib.sha256(first.float().cpu().contiguous().numpy().tobytes()).hexdigest()
    card = make_card(
        network,
        num_classes=last.shape[0],
        in_channels=in_channels,
        preprocessing=_CAFFE_PREPROCESSING if checksum in _CAFFE_FIRST_FILTERS else _PREPROCESSING,
    )
    return rename_layers(tensors, _ENDS | layers), card
