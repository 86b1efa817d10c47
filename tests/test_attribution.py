"""Attributions against captum, and what each of them promises."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.errors import UsageError
from convatlas.visualise import attribution
from convatlas.visualise.evidence import as_classifier

NETWORKS = ["caffe_lenet", "cifar_resnet20", "squeezenet_v1_1", "googlenet_bn"]
SIDES = {"squeezenet_v1_1": 67, "googlenet_bn": 64}
TARGET = 3


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    channels, height, width = registry.card(request.param).input_shape
    side = SIDES.get(request.param)
    x = torch.randn(1, channels, side or height, side or width)
    return registry.build(request.param).eval(), x


def same(values: np.ndarray, theirs: torch.Tensor) -> None:
    scale = float(np.abs(values).max())
    assert scale > 0
    np.testing.assert_allclose(values / scale, theirs[0].detach().numpy() / scale, rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize(("method", "theirs"), [
    (attribution.saliency, captum.attr.Saliency),
    (attribution.guided_backpropagation, captum.attr.GuidedBackprop),
    (attribution.deconvolution, captum.attr.Deconvolution),
    (attribution.integrated_gradients, captum.attr.IntegratedGradients),
])  # fmt: skip
def test_as_captum(case, method, theirs) -> None:  # type: ignore[no-untyped-def]
    net, x = case
    same(method(net, x, TARGET).values, theirs(net).attribute(x, target=TARGET))


def test_grad_cam_as_captum(case) -> None:  # type: ignore[no-untyped-def]
    net, x = case
    layer = attribution.last_maps(net, x)
    found = attribution.grad_cam(net, x, TARGET)
    theirs = captum.attr.LayerGradCam(net, net.get_submodule(layer))
    assert found.layer == layer
    np.testing.assert_allclose(
        found.values, theirs.attribute(x, target=TARGET, relu_attributions=True)[0, 0].detach(), rtol=1e-4, atol=1e-7
    )
    assert not net.get_submodule(layer)._forward_hooks


@pytest.mark.parametrize(("name", "side"), [("cifar_resnet20", 32), ("squeezenet_v1_1", 67), ("nin_cifar10", 32)])
def test_the_mean_of_a_class_activation_map_is_the_score(name: str, side: int) -> None:
    torch.manual_seed(0)
    net, x = registry.build(name), torch.randn(1, 3, side, side)
    found = attribution.class_activation_map(net, x, TARGET)
    bias = net.fc.bias[TARGET].item() if hasattr(net, "fc") else 0
    assert found.values.mean() + bias == pytest.approx(found.score, abs=1e-5)


def test_a_network_with_fully_connected_layers_has_no_class_activation_map() -> None:
    with pytest.raises(UsageError, match="CaffeLeNet has no class activation maps"):
        attribution.class_activation_map(registry.build("caffe_lenet"), torch.rand(1, 1, 28, 28), 0)


def test_shares_add_up_to_what_the_score_gains() -> None:
    torch.manual_seed(0)
    net, x, black = registry.build("caffe_lenet").eval(), torch.rand(1, 1, 28, 28), torch.full((1, 1, 28, 28), -1.0)
    with torch.no_grad():
        gained = (net(x) - net(black))[0, TARGET].item()
    found = attribution.integrated_gradients(net, x, TARGET, baseline=black, steps=200)
    assert found.values.sum() == pytest.approx(gained, rel=0.01)


def test_a_class_or_layer_that_is_not_there() -> None:
    net, x = registry.build("caffe_lenet"), torch.rand(1, 1, 28, 28)
    with pytest.raises(UsageError, match="class 10 does not exist; expected 0 to 9"):
        attribution.saliency(net, x, 10)
    with pytest.raises(UsageError, match="'ip1' gives a vector"):
        attribution.grad_cam(net, x, 0, "ip1")
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", [attribution.saliency, attribution.guided_backpropagation, attribution.grad_cam])
def test_attributions_are_drawn(method) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net, x = registry.build("cifar_resnet20").eval(), torch.randn(1, 3, 32, 32)
    sheet = attribution.figure(np.zeros((32, 32, 3), np.float32), method(net, x, TARGET), bgr=True)
    assert [bool(axis.images) for axis in sheet.axes] == [True] * 3


def test_a_map_is_enlarged_evenly() -> None:
    large = attribution.enlarged(np.array([[0.0, 1.0]], np.float32), (2, 4))
    np.testing.assert_allclose(large, [[0, 0.25, 0.75, 1]] * 2)


def test_the_last_maps_are_those_that_the_scores_rest_on() -> None:
    net = as_classifier(registry.build("mask_rcnn_resnet50_fpn", num_classes=2).eval())
    assert attribution.last_maps(net, torch.zeros(1, 3, 64, 64)).startswith("roi_align_box")
