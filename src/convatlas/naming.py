"""From what people call a network to its registered name: "ResNet-50", "vgg 16", "Faster R-CNN", "FCN-8s".

Case, hyphens, blanks, dots and underscores mean nothing. A family's name stands for a network where one is meant by it;
where it could be several, they are named.
"""

import difflib
import re
from collections.abc import Iterable, Mapping

from convatlas.errors import UsageError

LISTED = 8
COMMON_NAMES = {
    "bag of words": "sift_bow_svm",
    "crf rnn": "crf_rnn_fcn8s_voc",
    "deconvnet": "deconvnet_voc",
    "decouplednet": "decouplednet_voc",
    "deeplab": "deeplab_largefov_voc",
    "deeplab v1": "deeplab_largefov_voc",
    "deeplab largefov": "deeplab_largefov_voc",
    "fast rcnn": "fast_rcnn_vgg16",
    "fast yolo": "yolov1_fast_tiny_2015cfg",
    "faster rcnn": "faster_rcnn_vgg16",
    "fcn": "fcn8s_vgg16_voc",
    "fcn8": "fcn8s_vgg16_voc",
    "fcn8s": "fcn8s_vgg16_voc",
    "fcn16": "fcn16s_vgg16_voc",
    "fcn16s": "fcn16s_vgg16_voc",
    "fcn32": "fcn32s_vgg16_voc",
    "fcn32s": "fcn32s_vgg16_voc",
    "fcn alexnet": "fcn_alexnet_voc",
    "hog": "hog_svm",
    "highway": "highway19_cifar10",
    "highway19": "highway19_cifar10",
    "highway32": "highway32_cifar10",
    "hourglass": "stacked_hourglass_8",
    "inception bn": "bn_inception",
    "lenet": "lenet5",
    "lenet1989": "lenet_1989",
    "mask rcnn": "mask_rcnn_resnet50_fpn",
    "network in network": "nin_cifar10",
    "rcnn": "rcnn_alexnet_voc_finetune",
    "rcnn alexnet": "rcnn_alexnet_voc_finetune",
    "resnet20": "cifar_resnet20",
    "resnet32": "cifar_resnet32",
    "resnet44": "cifar_resnet44",
    "resnet56": "cifar_resnet56",
    "resnet110": "cifar_resnet110",
    "resnet1202": "cifar_resnet1202",
    "preact resnet110": "cifar_preresnet110",
    "preact resnet164": "cifar_preresnet164",
    "preact resnet1001": "cifar_preresnet1001",
    "preact resnet200": "preresnet200",
    "resnext50": "resnext50_32x4d",
    "segnet": "segnet_camvid",
    "spp": "sppnet_zf5",
    "sppnet": "sppnet_zf5",
    "ssd": "ssd300",
    "stacked hourglass": "stacked_hourglass_8",
    "tiny yolo": "yolov1_fast_tiny_2015cfg",
    "yolo tiny": "yolov1_fast_tiny_2015cfg",
}  # fmt: skip
"""What a family or a network is called in talk -> the network that was published first, or most used, under it."""


def normalise(name: str) -> str:
    """ "ResNet-50" -> "resnet50" """
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def resolve(name: str, names: Iterable[str], aliases: Mapping[str, str]) -> str:
    """The registered name for what a person wrote.

    Args:
        name: a registered name, an alias, or either in another spelling.
        names: all registered names.
        aliases: alias -> registered name.

    Raises:
        UsageError: no such network, or several; the message names the candidates.

    Examples:
        >>> resolve("ResNet-50", ["resnet50"], {})
        'resnet50'
    """
    exact = {registered: registered for registered in names} | dict(aliases)
    if name in exact:
        return exact[name]
    wanted = normalise(name)
    common = {alias: target for alias, target in COMMON_NAMES.items() if target in exact}
    known = [(normalise(spelling), target) for spelling, target in (exact | common).items()]
    same = sorted({target for spelling, target in known if spelling == wanted})
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(f"network {name!r} could be {listed(same)}; expected one of them")
    raise UsageError(f"unknown network {name!r}{hint(wanted, known)}")


def hint(wanted: str, known: Iterable[tuple[str, str]]) -> str:
    """What to write in place of an unknown name: members of the family, or the nearest names."""
    targets: dict[str, str] = {}
    for spelling, target in known:
        targets.setdefault(spelling, target)
    family = {target for spelling, target in targets.items() if spelling.startswith(wanted)}
    if len(wanted) > 2 and family:
        own_name_first = sorted(family, key=lambda target: (not normalise(target).startswith(wanted), target))
        return f"; expected one of its family: {listed(own_name_first)}"
    near = difflib.get_close_matches(wanted, list(targets), n=3, cutoff=0.6)
    candidates = list(dict.fromkeys(targets[spelling] for spelling in near))
    if candidates:
        return f"; did you mean {' or '.join(candidates)}?"
    return "; `convatlas list` shows all names."


def listed(names: list[str]) -> str:
    """ "vgg_a, vgg_b or vgg_c" """
    if len(names) > LISTED:
        return f"{', '.join(names[: LISTED - 1])} and {len(names) - LISTED + 1} more (`convatlas list` shows all)"
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
