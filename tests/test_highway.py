"""Highway networks: what the gates let through, and the ledger's counts."""

import math

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.highway import GATE_BIAS, HighwayLayer

NAMES = ("highway19_cifar10", "highway32_cifar10")


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_holds(name: str) -> None:
    assert {row.verdict for row in verify(name)} == {"holds"}


def test_a_layer_by_hand() -> None:
    layer = HighwayLayer(1)
    for conv, weight, bias in ((layer.H, 2.0, 1.0), (layer.T, 0.0, math.log(3))):  # T = 3/4
        nn.init.zeros_(conv.weight)
        assert conv.bias is not None
        conv.weight.data[0, 0, 1, 1] = weight
        nn.init.constant_(conv.bias, bias)
    x = torch.tensor([[[[4.0, -2.0]]]])
    # H = relu(9, -3) = (9, 0); y = 3/4 H + 1/4 x
    torch.testing.assert_close(layer(x), torch.tensor([[[[7.75, -0.5]]]]))


@pytest.mark.parametrize(("bias", "opened"), [(-50.0, False), (50.0, True)])
def test_gates_act(bias: float, opened: bool) -> None:
    torch.manual_seed(0)
    layer, x = HighwayLayer(3), torch.randn(2, 3, 5, 5)
    assert layer.T.bias is not None
    nn.init.constant_(layer.T.bias, bias)
    torch.testing.assert_close(layer(x), layer.relu(layer.H(x)) if opened else x)


@pytest.mark.parametrize("name", NAMES)
def test_initialisation(name: str) -> None:
    torch.manual_seed(0)
    net = registry.build(name)
    gates = 0
    for layer in net.modules():
        if isinstance(layer, HighwayLayer):
            gates += 1
            assert layer.T.bias is not None
            assert layer.H.bias is not None
            assert set(layer.T.bias.tolist()) == {GATE_BIAS}
            assert not layer.H.bias.any()
            fan_in = 9 * layer.H.in_channels
            assert layer.H.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.07)
    assert gates == {"highway19_cifar10": 14, "highway32_cifar10": 27}[name]
    assert net.get_submodule("conv1").weight.std().item() == pytest.approx(0.05, rel=0.15)  # type: ignore[union-attr]


def test_an_untrained_network_carries_its_input() -> None:
    """With H = 0 each layer leaves the share 1 - sigmoid(-2) = 0.88 of its input."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(HighwayLayer(4) for _ in range(3)))
    for layer in layers.modules():
        if isinstance(layer, HighwayLayer) and layer.T.bias is not None:
            nn.init.constant_(layer.T.bias, GATE_BIAS)
            nn.init.zeros_(layer.T.weight)
            nn.init.zeros_(layer.H.weight)
            assert layer.H.bias is not None
            nn.init.zeros_(layer.H.bias)
    x = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(layers(x), x * (1 - torch.sigmoid(torch.tensor(GATE_BIAS))) ** 3)


def test_dropout_acts_before_every_stage_and_the_classifier() -> None:
    net = registry.build("highway19_cifar10")
    dropouts = {path: layer.p for path, layer in net.named_modules() if isinstance(layer, nn.Dropout)}
    assert dropouts == dict.fromkeys(("drop1", "drop2", "drop3", "drop4"), 0.2)


@pytest.mark.parametrize("size", [(4, 4), (64, 41)])
def test_other_image_sizes(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert registry.build("highway19_cifar10")(torch.empty(2, 3, *size)).shape == (2, 10)


def test_it_learns_eight_images() -> None:
    """Without dropout, which is meant to prevent just that."""
    torch.manual_seed(0)
    net = registry.build("highway19_cifar10").eval()
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (net(x).argmax(1) == y).all()
