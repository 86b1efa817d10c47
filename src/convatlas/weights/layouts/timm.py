"""State dicts of timm where its networks are ours: Inception-v4, Inception-ResNet-v2 and Xception.

Their ResNets and ResNeXts have torchvision's names. Images have values of -1 to 1.
"""

from functools import cache

from convatlas.records import Preprocessing
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_HALF = (0.5, 0.5, 0.5)
_V4_STEM = {"conv1": "0", "conv2": "1", "conv3": "2", "mixed4": "3", "mixed5": "4", "mixed6": "5"}
_V4_BLOCKS = ("A1", "A2", "A3", "A4", "redA", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "redB", "C1", "C2", "C3")


def _images(to: int) -> Preprocessing:
    return Preprocessing((299, 299), 3, "short_side", to, _HALF, _HALF)


@cache
def layouts() -> tuple[Layout, ...]:
    """All of them."""
    return (
        Layout("timm inception_v4", "inception_v4", (299,), _inception_v4, _images(342)),
        Layout("timm inception_resnet_v2", "inception_resnet_v2_released", (449,), _inception_resnet_v2, _images(333)),
        Layout("timm legacy_xception", "xception", (115,), _xception, _images(333), settings={"*": {"eps": 1e-5}}),
    )


def _branch(path: str, names: list[str]) -> str:
    """b1_2.conv -> branch1.2.conv; a branch of one layer has no number; fans: b1_1.a.conv -> branch1_1a.conv."""
    layer, *fan, leaf = path.split(".")
    branch, _, place = layer.partition("_")
    number = branch.removeprefix("b")
    if any(name.split(".")[0].startswith(f"{branch}_") and ".a." in name for name in names):
        return f"branch{number}_{place}{fan[0] if fan else ''}.{leaf}"
    alone = place == "0" and not any(name.startswith(f"{branch}_1") for name in names)
    return f"branch{number}.{leaf}" if alone else f"branch{number}.{place}.{leaf}"


def _inception_v4() -> dict[str, str]:
    net, layers = skeleton("inception_v4"), {"last_linear": "fc"}
    for part, place in _V4_STEM.items():
        names = layer_names(net.get_submodule(f"stem.{part}"))
        for path in names:
            inner = path if part.startswith("conv") else f"conv.{path.split('.')[-1]}"
            layers[f"features.{place}.{_branch(path, names) if part == 'mixed5' else inner}"] = f"stem.{part}.{path}"
    for place, block in enumerate(_V4_BLOCKS, start=6):
        names = layer_names(net.get_submodule(block))
        layers |= {f"features.{place}.{_branch(path, names)}": f"{block}.{path}" for path in names}
    return layers


def _inception_resnet_v2() -> dict[str, str]:
    net, layers = skeleton("inception_resnet_v2_released"), {"classif": "fc"}
    parts = {"mixed_5b": "mixed_5b", "mixed_6a": "mixed_6a", "mixed_7a": "mixed_7a", "block8.10": "block8"}
    for ours, theirs, depth in (("block35", "repeat", 10), ("block17", "repeat_1", 20), ("block8", "repeat_2", 9)):
        parts |= {f"{ours}.{index + 1}": f"{theirs}.{index}" for index in range(depth)}
    for ours, theirs in parts.items():
        names = layer_names(net.get_submodule(ours))
        for path in names:
            layers[f"{theirs}.{'conv2d' if path == 'linear' else _branch(path, names)}"] = f"{ours}.{path}"
    for conv in ("1a", "2a", "2b", "3b", "4a", "7b"):
        layers |= {f"conv2d_{conv}.{leaf}": f"conv{conv}.{leaf}" for leaf in ("conv", "bn")}
    return layers


def _xception() -> dict[str, str]:
    """block1.rep.0.conv1 is block2.sepconv1.depthwise; the numbers count ReLUs too."""
    layers = {"fc": "fc"}
    for number in (1, 2):
        layers |= {f"conv{number}": f"block1_conv{number}.conv", f"bn{number}": f"block1_conv{number}.bn"}
        last = f"block14_sepconv{number}"
        layers |= {f"conv{number + 2}.conv1": f"{last}.depthwise", f"conv{number + 2}.pointwise": f"{last}.pointwise"}
        layers[f"bn{number + 2}"] = f"{last}.bn"
    net = skeleton("xception")
    for number in range(1, 13):
        ours = f"block{number + 1}"
        for path in layer_names(net.get_submodule(ours)):
            part, leaf = path.split(".")
            if part == "shortcut":
                layers[f"block{number}.{ {'conv': 'skip', 'bn': 'skipbn'}[leaf] }"] = f"{ours}.{path}"
                continue
            place = 3 * (int(part[-1]) - 1) + (0 if number == 1 else 1)
            inner = f"{place + 1}" if leaf == "bn" else f"{place}.{'conv1' if leaf == 'depthwise' else leaf}"
            layers[f"block{number}.rep.{inner}"] = f"{ours}.{path}"
    return layers
