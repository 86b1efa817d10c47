"""torchvision's resnet18 to resnet152, which timm's share: layer1.0.conv1 -> conv2_x.conv2_1.conv1.

Their bottlenecks have the stride in the 3x3, so from 50 layers on they are our `resnet50_stride3x3` and so on.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convatlas.structures import Preprocessing
from convatlas.weights.cards import make_card
from convatlas.weights.layouts.naming import count_blocks, rename_layers

_STAGES = ("layer1", "layer2", "layer3", "layer4")
_BASIC: dict[tuple[int, ...], str] = {(2, 2, 2, 2): "resnet18", (3, 4, 6, 3): "resnet34"}
_BOTTLENECK: dict[tuple[int, ...], str] = {
    (3, 4, 6, 3): "resnet50_stride3x3",
    (3, 4, 23, 3): "resnet101_stride3x3",
    (3, 8, 36, 3): "resnet152_stride3x3",
}
_LAYERS = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")
_SHORTCUT = {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}
_PREPROCESSING = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)


def translate(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Our names and the card, or None: not this layout (a wider or grouped ResNet is not it either)."""
    if not {"conv1.weight", "layer1.0.conv2.weight", "fc.weight"} <= tensors.keys():
        return None
    depths = count_blocks(tensors, _STAGES)
    names = _BOTTLENECK if "layer1.0.conv3.weight" in tensors else _BASIC
    if depths not in names or tensors["layer1.0.conv2.weight"].shape != (64, 64, 3, 3):
        return None
    first, last = tensors["conv1.weight"], tensors["fc.weight"]
    if first.ndim != 4 or last.ndim != 2:
        return None
    layers = {}
    for number, (stage, depth) in enumerate(zip(_STAGES, depths, strict=True), start=2):
        for index in range(depth):
            old, new = f"{stage}.{index}", f"conv{number}_x.conv{number}_{index + 1}"
            layers |= {f"{old}.{layer}": f"{new}.{layer}" for layer in _LAYERS}
            layers |= {f"{old}.{theirs}": f"{new}.{ours}" for theirs, ours in _SHORTCUT.items()}
    card = make_card(
        names[depths],
        num_classes=last.shape[0],
        in_channels=first.shape[1],
        preprocessing=_PREPROCESSING,
    )
    return rename_layers(tensors, layers), card
