"""Networks under the names that people use."""

import pytest

from convatlas import facts, registry
from convatlas.errors import UsageError
from convatlas.naming import COMMON_NAMES, normalise


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("ResNet-50", "resnet50"), ("resnet_50", "resnet50"), ("ResNet 50", "resnet50"), ("VGG-16", "vgg_d"),
        ("vgg19", "vgg_e"), ("LeNet", "lenet5"), ("LeNet-5", "lenet5"), ("YOLO", "yolov1"), ("SSD", "ssd300"),
        ("FCN-8s", "fcn8s_vgg16_voc"), ("U-Net", "unet"), ("Faster R-CNN", "faster_rcnn_vgg16"),
        ("maskrcnn_resnet50_fpn", "mask_rcnn_resnet50_fpn"), ("Inception v3", "inception_v3"),
        ("SqueezeNet 1.1", "squeezenet_v1_1"), ("ResNet-20", "cifar_resnet20"), ("DenseNet-121", "densenet121"),
        ("Network in Network", "nin_cifar10"), ("Stacked Hourglass", "stacked_hourglass_8"),
    ],
)  # fmt: skip
def test_a_network_is_found_under_the_names_that_people_use(called: str, name: str) -> None:
    assert registry.card(called).name == name


@pytest.mark.parametrize(
    ("called", "said"),
    [
        ("VGG", "expected one of its family: vgg_a, vgg_a_lrn"),
        ("ResNeXt-101", "resnext101_32x4d or resnext101_64x4d"),
        ("overfeat", "overfeat_accurate or overfeat_fast"),
        ("alexnett", "did you mean alexnet"),
        ("日本", "`convatlas list` shows all names"),
        ("", "`convatlas list` shows all names"),
    ],
)
def test_what_could_be_several_is_not_guessed(called: str, said: str) -> None:
    with pytest.raises(UsageError, match="unknown network") as caught:
        registry.card(called)
    assert said in str(caught.value)


def test_no_two_networks_are_called_the_same() -> None:
    spellings: dict[str, set[str]] = {}
    for name in registry.names():
        for called in (name, *registry.card(name).aliases):
            spellings.setdefault(normalise(called), set()).add(name)
    for called, name in COMMON_NAMES.items():
        spellings.setdefault(normalise(called), set()).add(name)
    assert {called: names for called, names in spellings.items() if len(names) > 1} == {}


def test_common_names_mean_registered_networks() -> None:
    assert set(COMMON_NAMES.values()) <= set(registry.names())


def test_the_ledger_knows_the_names_that_completion_offers() -> None:
    assert set(facts.network_names()) <= set(registry.names())
