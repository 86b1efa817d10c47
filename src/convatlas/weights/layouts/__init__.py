"""Foreign state dicts and how they become ours: one module a family, each recognised by its names and shapes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convatlas.weights.layouts import cifar_resnet, torchvision_alexnet, torchvision_resnet, torchvision_squeezenet

_LAYOUTS = (
    torchvision_resnet.translate,
    torchvision_alexnet.translate,
    torchvision_squeezenet.translate,
    cifar_resnet.translate,
)


def translate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors under our names, and the card of what they are; None where no layout is recognised."""
    for layout in _LAYOUTS:
        if (translated := layout(tensors)) is not None:
            return translated
    return None
