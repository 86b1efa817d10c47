"""Keras's applications: VGG, ResNet, Inception-v3, Inception-ResNet-v2, Xception and DenseNet, of Keras 1 to 3; and
Orobix's U-Net for the vessels of the retina.

Layers that Keras numbered itself are named by their place among those of their class: conv2d#1, conv2d#2, ...
"""

import re
from collections.abc import Mapping
from functools import cache, partial

from torch import Tensor

from convatlas.blocks.dims import BATCH_NORMS
from convatlas.records import Preprocessing
from convatlas.weights.layouts.caffe import VGG_MEAN, images
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_HALF = (0.5, 0.5, 0.5)
_TF_IMAGES = Preprocessing((299, 299), 3, "short_side", 342, _HALF, _HALF)
_TORCH_IMAGES = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)
_RETINA_PATCHES = Preprocessing((48, 48), 1, mean=(0.0,), std=(1.0,))  # of an image with its contrast equalised
_NUMBERED = re.compile(r"(conv2d|convolution2d|batch_normalization|batchnormalization)(?:_(\d+))?(?=\.)")
_KINDS = {"convolution2d": "conv2d", "batchnormalization": "batch_normalization"}
_KERAS_EPS = {"*": {"eps": 1.001e-5}}
_OVERHANGING = {"padding": 0, "ceil_mode": True}  # where TensorFlow pads on one side only
_INCEPTION_RESNET = "inception_resnet_v2_released"


@cache
def layouts() -> tuple[Layout, ...]:
    """All of them."""
    caffe = images(224, VGG_MEAN)
    return (
        *(
            Layout(name, ours, (count,), partial(_vgg, ours), caffe, channels_last={"fc6": (7, 7)})
            for name, ours, count in (("vgg16", "vgg_d", 16), ("vgg19", "vgg_e", 19))
        ),
        *(
            Layout(name, name, (count,), partial(_resnet, name), caffe, settings=_KERAS_EPS, folds_biases=True)
            for name, count in (("resnet50", 107), ("resnet101", 209), ("resnet152", 311))
        ),
        Layout(
            "resnet50 of Keras 1 and 2.0",
            "resnet50",
            (107,),
            _old_resnet50,
            caffe,
            settings={"*": {"eps": 1e-3}, "pool1": {"padding": 0}},
            folds_biases=True,
        ),
        Layout(
            "inception_v3",
            "inception_v3",
            (189,),
            partial(_in_order, "inception_v3", {"fc": "predictions"}),
            _TF_IMAGES,
            settings={"*": {"count_include_pad": False}},
        ),
        Layout("inception_resnet_v2", _INCEPTION_RESNET, (449,), _inception_resnet_v2, _TF_IMAGES),
        Layout("xception", "xception", (115,), _xception, _TF_IMAGES, settings={"block3.pool": _OVERHANGING}),
        *(
            Layout(f"{name}{age}", name, (count,), partial(_densenet, name, old=bool(age)), _TORCH_IMAGES,
                   settings=_KERAS_EPS)
            for name, count in (("densenet121", 242), ("densenet169", 338), ("densenet201", 402))
            for age in ("", " of Keras 2")
        ),
        Layout("retina-unet", "retina_unet_orobix", (11,), partial(_in_order, "retina_unet_orobix", {}),
               _RETINA_PATCHES, classes="retina_vessels"),
    )  # fmt: skip


def by_place(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with layers that Keras numbered by itself under their place among those of their class."""
    numbers: dict[str, set[int]] = {}
    for name in tensors:
        if found := _NUMBERED.match(name):
            numbers.setdefault(found[1], set()).add(int(found[2] or 0))

    def renamed(name: str) -> str:
        found = _NUMBERED.match(name)
        if found is None:
            return name
        place = sorted(numbers[found[1]]).index(int(found[2] or 0)) + 1
        return f"{_KINDS.get(found[1], found[1])}#{place}{name[found.end() :]}"

    return {renamed(name): value for name, value in tensors.items()}


def _vgg(network: str) -> dict[str, str]:
    convs = [name for name in layer_names(skeleton(network)) if name.startswith("conv")]
    dense = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}
    return {f"block{name[4]}_conv{name[6]}": name for name in convs} | dense


def _resnet(network: str) -> dict[str, str]:
    """conv2_block1_1_conv; the shortcut is number 0."""
    layers = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}
    for stage, index, path, names in _blocks(network):
        for name in names:
            number = "0" if name.startswith("shortcut") else name[-1]
            leaf = "bn" if "bn" in name else "conv"
            layers[f"conv{stage}_block{index}_{number}_{leaf}"] = f"{path}.{name}"
    return layers


def _old_resnet50() -> dict[str, str]:
    """res2a_branch2a and bn2a_branch2a, as in Caffe."""
    layers = {"conv1": "conv1", "bn_conv1": "bn1", "fc1000": "fc"}
    for stage, index, path, names in _blocks("resnet50"):
        for name in names:
            branch = "branch1" if name.startswith("shortcut") else f"branch2{'abc'[int(name[-1]) - 1]}"
            layers[f"{'bn' if 'bn' in name else 'res'}{stage}{'abcdef'[index - 1]}_{branch}"] = f"{path}.{name}"
    return layers


def _blocks(network: str) -> list[tuple[int, int, str, list[str]]]:
    """(stage, number, path, its layers) of the blocks of a ResNet."""
    net = skeleton(network)
    return [
        (stage, index, f"conv{stage}_x.{block}", layer_names(module))
        for stage in (2, 3, 4, 5)
        for index, (block, module) in enumerate(net.get_submodule(f"conv{stage}_x").named_children(), start=1)
    ]


def _in_order(network: str, named: Mapping[str, str]) -> dict[str, str]:
    """Layers in the order of ours, which is that of Keras's code; `named` are ours that have a name there."""
    net, layers = skeleton(network), {}
    counts = {"conv2d": 0, "batch_normalization": 0}
    for path in layer_names(net):
        if path.startswith("aux"):
            continue
        if path in named:
            layers[named[path]] = path
            continue
        kind = "batch_normalization" if isinstance(net.get_submodule(path), BATCH_NORMS) else "conv2d"
        counts[kind] += 1
        layers[f"{kind}#{counts[kind]}"] = path
    return layers


def _inception_resnet_v2() -> dict[str, str]:
    named = {"fc": "predictions", "conv7b.conv": "conv_7b", "conv7b.bn": "conv_7b_bn"}
    for block, depth in (("block35", 10), ("block17", 20), ("block8", 10)):
        named |= {f"{block}.{index}.linear": f"{block}_{index}_conv" for index in range(1, depth + 1)}
    return _in_order(_INCEPTION_RESNET, named)


def _xception() -> dict[str, str]:
    """Shortcuts are numbered, all else is named; a separable convolution holds two of ours."""
    named = {"fc": "predictions"}
    for path in layer_names(skeleton("xception")):
        if "shortcut" in path or path == "fc":
            continue
        layer, _, leaf = path.rpartition(".")
        layer = layer.replace(".", "_")
        named[path] = {"conv": layer, "bn": f"{layer}_bn"}.get(leaf, f"{layer}.{leaf}")
    return _in_order("xception", named)


def _densenet(network: str, *, old: bool) -> dict[str, str]:
    """conv2_block1_1_conv; before Keras 3 the first layers were conv1/conv and conv1/bn, the last fc1000."""
    first = "conv1/" if old else "conv1_"
    layers = {f"{first}conv": "convolution", f"{first}bn": "bn", "bn": "classification_layer.bn"}
    layers["fc1000" if old else "predictions"] = "classification_layer.fc"
    for path in layer_names(skeleton(network)):
        block, *rest = path.split(".")
        if block.startswith("dense_block"):
            layer, leaf = rest
            place = int(leaf[-1]) - ("bn" in leaf)  # 0_bn, 1_conv, 1_bn, 2_conv
            key = f"conv{int(block[-1]) + 1}_block{layer.removeprefix('layer')}_{place}_{leaf[:-1]}"
            layers[key] = path
        elif block.startswith("transition"):
            layers[f"pool{int(block[-1]) + 1}_{rest[0]}"] = path
    return layers
