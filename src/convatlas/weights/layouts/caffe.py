"""Caffe releases: LeNet, CaffeNet, AlexNet, VGG, GoogLeNet, ResNet, SqueezeNet, NiN and DenseNet.

Layer names are those of the authors' prototxt files. Images are BGR of 0 to 255 minus a mean. BVLC's networks were
trained on images stretched to 256 x 256, from which a mean image was taken; the mean of its channels is used here.
"""

from functools import cache, partial

from convatlas.records import Preprocessing
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_BVLC_MEAN = (122.679, 116.669, 104.007)  # RGB, of imagenet_mean.binaryproto
VGG_MEAN = (123.68, 116.779, 103.939)
GOOGLENET_MEAN = (123.0, 117.0, 104.0)


def images(side: int, mean: tuple[float, float, float], *, stretched: bool = False, scale: float = 1) -> Preprocessing:
    """BGR of 0 to 255 minus `mean` (RGB), times `scale`; the centre of an image with a short side of 256."""
    return Preprocessing(
        size=(side, side),
        resize="stretch" if stretched else "short_side",
        resize_to=256,
        mean=tuple(value / 255 for value in mean),
        std=(1 / (255 * scale),) * 3,
        channel_order="bgr",
    )


def _same_names(network: str) -> dict[str, str]:
    """Layers whose names are ours, since ours are theirs."""
    return {path: path for path in layer_names(skeleton(network))}


@cache
def layouts() -> tuple[Layout, ...]:
    """All of them."""
    lrn = {"alpha": 1e-4, "k": 1.0}  # Caffe divides alpha by the number of neighbours, as torch does
    bvlc = images(227, _BVLC_MEAN, stretched=True)
    squeezenet = images(227, GOOGLENET_MEAN)
    pad1 = "squeezenet_v1_0_caffe_pad1"
    mnist = Preprocessing(size=(28, 28), channels=1, mean=(0.0,), std=(256 / 255,))
    return (
        Layout("lenet", "caffe_lenet", (4,), partial(_same_names, "caffe_lenet"), mnist, classes="mnist"),
        Layout("bvlc_reference_caffenet", "caffenet", (8,), partial(_same_names, "caffenet"), bvlc, called="CaffeNet"),
        Layout(
            "bvlc_alexnet",
            "alexnet",
            (8,),
            partial(_same_names, "alexnet"),
            bvlc,
            settings={"norm1": lrn, "norm2": lrn},
            called="AlexNet",
        ),
        *(
            Layout(f"VGG_ILSVRC_{depth}_layers", name, (depth,), partial(_same_names, name), images(224, VGG_MEAN))
            for depth, name in ((16, "vgg_d"), (19, "vgg_e"))
        ),
        Layout("bvlc_googlenet", "googlenet", (64, 58), _googlenet, images(224, GOOGLENET_MEAN, stretched=True)),
        *(_resnet(depth, count) for depth, count in ((50, 160), (101, 313), (152, 466))),
        Layout("SqueezeNet_v1.0", pad1, (26,), partial(_squeezenet, pad1), squeezenet),
        Layout("SqueezeNet_v1.1", "squeezenet_v1_1", (26,), partial(_squeezenet, "squeezenet_v1_1"), squeezenet),
        Layout("nin_imagenet", "nin_imagenet", (12,), _nin, images(224, _BVLC_MEAN, stretched=True)),
        *(_densenet(depth, count) for depth, count in ((121, 363), (161, 483), (169, 507), (201, 603))),
    )


def _googlenet() -> dict[str, str]:
    """inception_3a/3x3_reduce; the heads are loss1 and loss2, the classifier loss3."""
    stem = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2_reduce", "conv2/3x3": "conv2"}
    inner = {
        path.replace(".", "/"): path
        for path, layer in skeleton("googlenet").named_modules()
        if path.startswith("inception_") and hasattr(layer, "kernel_size") and hasattr(layer, "weight")
    }
    heads = {
        f"loss{head}/{theirs}": f"aux{head}.{ours}"
        for head in (1, 2)
        for theirs, ours in (("conv", "conv"), ("fc", "fc"), ("classifier", "classifier"))
    }
    return stem | inner | heads | {"loss3/classifier": "classifier"}


def _squeezenet(network: str) -> dict[str, str]:
    """fire2/squeeze1x1."""
    return {path.replace(".", "/"): path for path in _same_names(network)}


def _nin() -> dict[str, str]:
    names = _same_names("nin_imagenet")
    wide = {"conv4": "conv4-1024", "cccp7": "cccp7-1024", "cccp8": "cccp8-1024"}
    return {wide.get(path, path): path for path in names}


def _resnet(depth: int, count: int) -> Layout:
    return Layout(
        f"ResNet-{depth}",
        f"resnet{depth}",
        (count,),
        partial(_resnet_layers, f"resnet{depth}", depth > 50),
        images(224, VGG_MEAN),
        settings={"pool1": {"padding": 0, "ceil_mode": True}},  # the window overhangs on one side only
        folds_biases=True,  # of conv1 in ResNet-50
    )


def _resnet_layers(network: str, deep: bool) -> dict[str, str]:
    """res2a_branch2a with bn2a_branch2a and scale2a_branch2a; in deeper nets long stages are a, b1, b2 and so on."""
    layers = {"conv1": "conv1", "bn_conv1": "bn1", "scale_conv1": "bn1", "fc1000": "fc"}
    for stage in (2, 3, 4, 5):
        blocks = [name for name, _ in skeleton(network).get_submodule(f"conv{stage}_x").named_children()]
        for index, block in enumerate(blocks):
            path = f"conv{stage}_x.{block}"
            long = deep and len(blocks) > 3
            key = f"{stage}a" if index == 0 else f"{stage}b{index}" if long else f"{stage}{'abcdef'[index]}"
            convs = [(f"branch2{letter}", f"conv{n}", f"bn{n}") for n, letter in ((1, "a"), (2, "b"), (3, "c"))]
            if index == 0:
                convs.append(("branch1", "shortcut.conv", "shortcut.bn"))
            for branch, conv, norm in convs:
                layers[f"res{key}_{branch}"] = f"{path}.{conv}"
                layers[f"bn{key}_{branch}"] = layers[f"scale{key}_{branch}"] = f"{path}.{norm}"
    return layers


def _densenet(depth: int, count: int) -> Layout:
    pixels = images(224, (123.68, 116.78, 103.94), scale=0.017)
    network = f"densenet{depth}"
    return Layout(f"DenseNet_{depth}", network, (count,), partial(_densenet_layers, network), pixels)


def _densenet_layers(network: str) -> dict[str, str]:
    """conv2_1/x1 with conv2_1/x1/bn and conv2_1/x1/scale; conv2_blk is a transition."""
    layers = {"conv1": "convolution", "conv1/bn": "bn", "conv1/scale": "bn", "fc6": "classification_layer.fc"}

    def add(theirs: str, conv: str | None, norm: str) -> None:
        if conv is not None:
            layers[theirs] = conv
        layers[f"{theirs}/bn"] = layers[f"{theirs}/scale"] = norm

    net = skeleton(network)
    for block in (1, 2, 3, 4):
        path = f"dense_block{block}"
        for index, (layer, _) in enumerate(net.get_submodule(path).named_children(), start=1):
            for half in (1, 2):
                add(f"conv{block + 1}_{index}/x{half}", f"{path}.{layer}.conv{half}", f"{path}.{layer}.bn{half}")
        if block < 4:
            add(f"conv{block + 1}_blk", f"transition_layer{block}.conv", f"transition_layer{block}.bn")
    add("conv5_blk", None, "classification_layer.bn")
    return layers
