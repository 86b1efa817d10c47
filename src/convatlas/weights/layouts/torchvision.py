"""State dicts of torchvision: AlexNet, VGG, ResNet, ResNeXt, SqueezeNet, GoogLeNet, Inception-v3 and DenseNet.

timm's ResNets and ResNeXts have the same names. Their bottlenecks stride in the 3x3, so from 50 layers on the ResNets
are our `resnet50_stride3x3` and so on. GoogLeNet and Inception-v3 were trained on values of -1 to 1.
"""

from functools import cache, partial

from convatlas.records import Preprocessing
from convatlas.weights.layouts.caffe import GOOGLENET_MEAN, images
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_IMAGES = Preprocessing(size=(224, 224), resize="short_side", resize_to=256)
_HALF = (0.5, 0.5, 0.5)
_OLD_IMAGES = Preprocessing((224, 224), 3, "short_side", 256, _HALF, _HALF)
_LARGE_IMAGES = Preprocessing((299, 299), 3, "short_side", 342, _HALF, _HALF)
_SQUEEZENET_PLACES = {  # of fire2 to fire9
    "squeezenet_v1_0": (3, 4, 5, 7, 8, 9, 10, 12),
    "squeezenet_v1_1": (3, 4, 6, 7, 9, 10, 11, 12),
}
# The authors' Caffe weights of v1.1 go round under these names: SHA-256 of their first filters as float32.
_CAFFE = {"90e4b9d94ef5875878d9b147a6afdc926ab132b9f81a39ebe0cbb9c649542b62": images(227, GOOGLENET_MEAN)}
_INCEPTION = {  # our branches in theirs, by the number of layers in each
    "a": {"b0": "branch1x1", "b1": "branch5x5_", "b2": "branch3x3dbl_", "b3": "branch_pool"},
    "reduce_a": {"b0": "branch3x3", "b1": "branch3x3dbl_"},
    "b": {"b0": "branch1x1", "b1": "branch7x7_", "b2": "branch7x7dbl_", "b3": "branch_pool"},
    "reduce_b": {"b0": "branch3x3_", "b1": "branch7x7x3_"},
    "c": {"b0": "branch1x1", "b1": "branch3x3_", "b2": "branch3x3dbl_", "b3": "branch_pool"},
}


_RESNETS = {
    "resnet18": ("resnet18", 41),
    "resnet34": ("resnet34", 73),
    "resnet50": ("resnet50_stride3x3", 107),
    "resnet101": ("resnet101_stride3x3", 209),
    "resnet152": ("resnet152_stride3x3", 311),
    "resnext50_32x4d": ("resnext50_32x4d", 107),
    "resnext101_32x4d": ("resnext101_32x4d", 209),
    "resnext101_64x4d": ("resnext101_64x4d", 209),
}
_DENSENETS = {"densenet121": 242, "densenet161": 322, "densenet169": 338, "densenet201": 402}
_VGGS = {"vgg11": "vgg_a", "vgg13": "vgg_b", "vgg16": "vgg_d", "vgg19": "vgg_e"}


@cache
def layouts() -> tuple[Layout, ...]:
    """All of them."""
    name = "torchvision {}".format
    return (
        Layout(name("alexnet"), "alexnet_owt", (8,), _alexnet, _IMAGES),
        *(Layout(name(t), ours, (int(t[3:]),), partial(_vgg, ours), _IMAGES) for t, ours in _VGGS.items()),
        *(Layout(name(t), ours, (n,), partial(_resnet, ours), _IMAGES) for t, (ours, n) in _RESNETS.items()),
        *(
            Layout(name(t), ours, (26,), partial(_squeezenet, ours), _IMAGES, conversions=_CAFFE)
            for t, ours in (("squeezenet1_0", "squeezenet_v1_0"), ("squeezenet1_1", "squeezenet_v1_1"))
        ),
        Layout(name("googlenet"), "googlenet_bn", (123, 115), _googlenet, _OLD_IMAGES),
        Layout(name("inception_v3"), "inception_v3", (194, 189), _inception_v3, _LARGE_IMAGES),
        *(Layout(name(t), t, (n,), partial(_densenet, t), _IMAGES) for t, n in _DENSENETS.items()),
    )


def _alexnet() -> dict[str, str]:
    places = {"features.0": "conv1", "features.3": "conv2", "features.6": "conv3", "features.8": "conv4"}
    return places | {"features.10": "conv5", "classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"}


def _vgg(network: str) -> dict[str, str]:
    """Features are numbered with ReLUs and pools."""
    children = [name for name, _ in skeleton(network).named_children()]
    layers = {f"features.{index}": name for index, name in enumerate(children) if name.startswith("conv")}
    return layers | {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}


def _resnet(network: str) -> dict[str, str]:
    """layer1.0.conv1 is conv2_x.conv2_1.conv1."""
    net, layers = skeleton(network), {"conv1": "conv1", "bn1": "bn1", "fc": "fc"}
    for stage in (1, 2, 3, 4):
        blocks = net.get_submodule(f"conv{stage + 1}_x").named_children()
        for index, (block, module) in enumerate(blocks):
            theirs, ours = f"layer{stage}.{index}", f"conv{stage + 1}_x.{block}"
            for path in layer_names(module):
                name = path.replace("shortcut.conv", "downsample.0").replace("shortcut.bn", "downsample.1")
                layers[f"{theirs}.{name}"] = f"{ours}.{path}"
    return layers


def _squeezenet(network: str) -> dict[str, str]:
    """features.3.squeeze is fire2.squeeze1x1."""
    parts = {"squeeze": "squeeze1x1", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    fires = {
        f"features.{place}.{theirs}": f"fire{number}.{ours}"
        for number, place in enumerate(_SQUEEZENET_PLACES[network], start=2)
        for theirs, ours in parts.items()
    }
    return {"features.0": "conv1", "classifier.1": "conv10"} | fires


def _googlenet() -> dict[str, str]:
    parts = {"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1", "5x5_reduce": "branch3.0"}
    parts |= {"5x5": "branch3.1", "pool_proj": "branch4.1"}
    stem = {"conv2_reduce": "conv2", "conv2": "conv3", "classifier": "fc"}
    layers = {}
    for path in layer_names(skeleton("googlenet_bn")):
        first, _, rest = path.partition(".")
        if first.startswith("inception"):
            part, _, leaf = rest.partition(".")
            layers[f"{first.replace('_', '')}.{parts[part]}.{leaf}"] = path
        elif first.startswith("aux"):
            layers[f"{first}.{ {'fc': 'fc1', 'classifier': 'fc2'}.get(rest, rest) }"] = path
        else:
            layers[".".join(filter(None, (stem.get(first, first), rest)))] = path
    return layers


def _inception_v3() -> dict[str, str]:
    stem = {"conv1a": "1a_3x3", "conv2a": "2a_3x3", "conv2b": "2b_3x3", "conv3b": "3b_1x1", "conv4a": "4a_3x3"}
    kinds = {"mixed_6a": "reduce_a", "mixed_7a": "reduce_b"} | dict.fromkeys(("mixed_7b", "mixed_7c"), "c")
    layers = {"fc": "fc"}
    for path in layer_names(skeleton("inception_v3")):
        first, _, rest = path.partition(".")
        if first in stem:
            layers[f"Conv2d_{stem[first]}.{rest}"] = path
        elif first == "aux":
            layers[f"AuxLogits.{rest}"] = path
        elif first.startswith("mixed"):
            kind = kinds.get(first, "a" if first.startswith("mixed_5") else "b")
            layers[f"Mixed{first.removeprefix('mixed')}.{_branch(rest, _INCEPTION[kind])}"] = path
    return layers


def _branch(path: str, names: dict[str, str]) -> str:
    """b1_2.conv -> branch7x7_3.conv; the fan b1_1.a.conv -> branch3x3_2a.conv."""
    layer, *fan, leaf = path.split(".")
    branch, _, place = layer.partition("_")
    number = f"{int(place) + 1}{fan[0] if fan else ''}" if names[branch].endswith("_") else ""
    return f"{names[branch]}{number}.{leaf}"


def _densenet(network: str) -> dict[str, str]:
    """features.denseblock1.denselayer1.norm1 is dense_block1.layer1.bn1."""
    layers = {"features.conv0": "convolution", "features.norm0": "bn", "features.norm5": "classification_layer.bn"}
    layers["classifier"] = "classification_layer.fc"
    for path in layer_names(skeleton(network)):
        block, *rest = path.split(".")
        leaf = rest[-1].replace("bn", "norm") if rest else ""
        if block.startswith("dense_block"):
            layers[f"features.{block.replace('_', '')}.dense{rest[0]}.{leaf}"] = path
        elif block.startswith("transition"):
            layers[f"features.transition{block[-1]}.{leaf}"] = path
    return layers
