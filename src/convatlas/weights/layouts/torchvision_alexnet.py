"""torchvision's alexnet, which is our `alexnet_owt`: features.0 -> conv1, classifier.1 -> fc6."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convatlas.structures import Preprocessing
from convatlas.weights.cards import make_card
from convatlas.weights.layouts.naming import rename_layers

_LAYERS = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}
_PREPROCESSING = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)


def translate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Our names and the card, or None: not this layout."""
    if not {f"{layer}.weight" for layer in _LAYERS} <= tensors.keys():
        return None
    first, last = tensors["features.0.weight"], tensors["classifier.6.weight"]
    if first.ndim != 4 or last.ndim != 2 or first.shape[0] != 64 or first.shape[2:] != (11, 11):
        return None
    card = make_card("alexnet_owt", num_classes=last.shape[0], in_channels=first.shape[1], preprocessing=_PREPROCESSING)
    return rename_layers(tensors, _LAYERS), card
