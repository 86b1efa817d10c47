"""AlexNet's two towers: the same output as on one device, and no word more than figure 2 allows."""

import pytest
import torch

from convatlas import registry
from convatlas.errors import UsageError
from convatlas.training.towers import AlexNetTowers, joined


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return registry.build("alexnet", num_classes=10).eval()


@pytest.fixture(scope="module")
def x():
    return 50 * torch.randn(2, 3, 227, 227, generator=torch.Generator().manual_seed(0))


def test_two_towers_give_the_output_of_one_device(net, x):
    towers = AlexNetTowers(net, ("cpu", "cpu")).eval()
    with torch.no_grad():
        assert torch.allclose(towers(x), net(x), rtol=1e-4, atol=1e-5)
    assert towers.exchanges == ["norm1", "norm2", "conv3", "fc6", "fc7", "fc8"]
    weights = net.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in joined(towers).items())
    assert joined(towers).keys() == weights.keys()


def test_without_the_seam_they_talk_only_where_the_paper_lets_them(net, x):
    towers = AlexNetTowers(net, ("cpu", "cpu"), seam=False).eval()
    with torch.no_grad():
        found, expected = towers(x), net(x)
    assert towers.exchanges == ["conv3", "fc6", "fc7", "fc8"]
    assert not torch.equal(found, expected)
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_a_gradient_crosses_the_devices(net, x):
    towers = AlexNetTowers(net, ("cpu", "cpu"))
    towers(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in towers.parameters())


def test_towers_are_placed_where_they_were_sent(net):
    towers = AlexNetTowers(net, ("cpu", "meta"))
    places = [{p.device.type for p in tower.parameters()} for tower in towers.towers]
    assert places == [{"cpu"}, {"meta"}]


def test_what_has_no_towers_is_named(net):
    with pytest.raises(UsageError, match="two groups"):
        AlexNetTowers(registry.build("alexnet_ungrouped"), ("cpu", "cpu"))
    with pytest.raises(UsageError, match="expected two"):
        AlexNetTowers(net, ("cpu",))
