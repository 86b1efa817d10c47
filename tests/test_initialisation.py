"""The weights of a new network have the distribution that its paper or release states, layer by layer."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.blocks.dims import CONVS

Drawn = tuple[str, float]  # the shape of the distribution, and its deviation or bound
Rule = Callable[[str, Tensor], Drawn]


def fans(weight: Tensor) -> tuple[int, int]:
    """Inputs of an output unit, and outputs of an input unit."""
    window = math.prod(weight.shape[2:])
    return weight.shape[1] * window, weight.shape[0] * window


def normal(std: float, **others: float) -> Rule:
    """The same for all layers, but for those that are named."""
    return lambda path, weight: ("normal", others.get(path, std))


def truncated(std: float, **others: float) -> Rule:
    """Cut at two deviations, as tf-slim does it."""
    return lambda path, weight: ("truncated", others.get(path.replace(".", "_"), std))


def uniform(bound: float) -> Rule:
    return lambda path, weight: ("uniform", bound)


def he(path: str, weight: Tensor) -> Drawn:
    return "normal", math.sqrt(2 / fans(weight)[0])


def he_but_torchs_fc(path: str, weight: Tensor) -> Drawn:
    """Torch7's own numbers in the classifier, its biases included."""
    return torchs_own(path, weight) if weight.dim() == 2 else he(path, weight)


def he_by_outputs(path: str, weight: Tensor) -> Drawn:
    """As fb.resnet.torch has it; Torch's own uniform numbers in the classifier."""
    if weight.dim() == 2:
        return "uniform", 1 / math.sqrt(fans(weight)[0])
    return "normal", math.sqrt(2 / fans(weight)[1])


def glorot(path: str, weight: Tensor) -> Drawn:
    return "uniform", math.sqrt(6 / sum(fans(weight)))


def caffes_xavier(path: str, weight: Tensor) -> Drawn:
    return "uniform", math.sqrt(3 / fans(weight)[0])


def lecun(path: str, weight: Tensor) -> Drawn:
    return "uniform", 2.4 / fans(weight)[0]


def torchs_own(path: str, weight: Tensor) -> Drawn:
    return "uniform", 1 / math.sqrt(fans(weight)[0])


ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")  # Krizhevsky's layers with biases of one

# name: the rule of its weights, the biases that are not zero (None: they are drawn as the weights are)
PUBLISHED: dict[str, tuple[Rule, dict[str, float] | None]] = {
    "alexnet": (normal(0.01), dict.fromkeys(ONES, 1.0)),
    "caffenet": (normal(0.01, fc6=0.005, fc7=0.005), dict.fromkeys(ONES, 1.0)),
    "alexnet_owt": (torchs_own, None),
    "zfnet": (normal(0.01), {}),
    "overfeat_fast": (normal(0.01), {}),
    "vgg_a": (normal(math.sqrt(0.01)), {}),
    "caffe_lenet": (caffes_xavier, {}),
    "ciresan2010_mlp_1": (uniform(0.05), None),
    "mcdnn_cifar10": (uniform(0.05), None),
    "nin_cifar10": (normal(0.05), {}),
    "squeezenet_v1_0": (lambda path, w: ("normal", 0.01) if path == "conv10" else caffes_xavier(path, w), {}),
    "fractalnet_thin_c2": (caffes_xavier, {}),
    "bn_inception": (he, {}),
    "inception_v3": (truncated(0.1, aux_conv1_conv=0.01, aux_fc=0.001), {}),
    "inception_v4": (he, {}),
    "xception": (glorot, {}),
    "plain18": (he, {}),
    "cifar_plain20": (he, {}),
    "resnet18": (he, {}),
    "cifar_resnet20": (he, {}),
    "stochastic_depth_110": (he_but_torchs_fc, None),
    "cifar_preresnet110": (he_by_outputs, {}),
    "cifar_resnext29_8x64d": (he_by_outputs, {}),
    "densenet121": (he_by_outputs, {}),
    "cifar_densenet_bc_100_12": (he_by_outputs, {}),
    "a2net50_reading": (he, {}),
}
LARGE = (
    "alexnet", "caffenet", "alexnet_owt", "zfnet", "overfeat_fast", "vgg_a", "inception_v3", "inception_v4",
    "densenet121",
)  # fmt: skip


def check(drawn: Drawn, values: Tensor, where: str) -> None:
    """Deviation, mean and, where there is one, the bound, as far as the number of values lets them be known."""
    shape, scale = drawn
    values, count = values.double(), values.numel()
    std = scale * {"normal": 1, "truncated": 0.8796, "uniform": 1 / math.sqrt(3)}[shape]
    assert abs(values.mean().item()) <= 5 * std / math.sqrt(count), where
    assert values.square().mean().sqrt().item() == pytest.approx(std, rel=5 / math.sqrt(count)), where
    largest = values.abs().max().item()
    if shape != "normal":
        assert largest <= scale * (2 if shape == "truncated" else 1) * (1 + 1e-6), where
    elif count > 1000:
        assert largest > 2.5 * std, f"{where}: a normal distribution has tails"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in PUBLISHED]
)
def test_weights_are_drawn_as_published(name: str) -> None:
    torch.manual_seed(0)
    rule, biases = PUBLISHED[name]
    layers = [(path, m) for path, m in registry.build(name).named_modules() if isinstance(m, (*CONVS, nn.Linear))]
    assert layers
    for path, layer in layers:
        drawn = rule(path, layer.weight)
        check(drawn, layer.weight.detach(), f"{path}.weight")
        if layer.bias is None:
            continue
        if biases is None:
            check(drawn, layer.bias.detach(), f"{path}.bias")
        else:
            assert (layer.bias == biases.get(path, 0.0)).all(), f"{path}.bias"


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_preresnet110", "densenet121", "bn_inception", "xception"])
def test_normalisation_starts_as_the_identity(name: str) -> None:
    for path, layer in registry.build(name).named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all(), path
            assert (layer.bias == 0).all(), path
