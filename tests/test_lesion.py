"""Lesions and paths by hand, on networks small enough to unravel."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convatlas import registry
from convatlas.blocks.residual import Residual
from convatlas.errors import UsageError
from convatlas.visualise import lesion


class Scale(Residual):
    """x + a x, as a block: its residual has derivative a."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, factor)
        self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.shortcut(x)


def chain(*factors: float) -> nn.Sequential:
    return nn.Sequential(*(Scale(factor) for factor in factors), nn.Flatten())


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_preresnet110", "stochastic_depth_110_cifar10", "resnet50"])
def test_a_block_without_its_residual_is_its_shortcut(name: str) -> None:
    names = [known for known in registry.names() if known.startswith(name.split("_110")[0])]
    torch.manual_seed(0)
    net, x = registry.build(names[0]).eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        ends = lesion.residual_ends(net, x)
        block = list(ends)[1]
        module = net.get_submodule(block)
        seen: list[tuple[Tensor, Tensor]] = []
        module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
        before = net(x)
        with lesion.without_residuals(net, [ends[block]]):
            net(x)
        (_, whole), (entered, left) = seen
        assert not torch.equal(whole, left)
        assert torch.equal(left, module.shortcut(entered)) or torch.equal(left, module.shortcut(entered).relu())
        assert torch.equal(net(x), before)


def test_all_blocks_are_found() -> None:
    ends = lesion.residual_ends(registry.build("cifar_resnet20"), torch.randn(1, 3, 32, 32))
    assert list(ends) == [f"stage{stage}.{block}" for stage in (1, 2, 3) for block in (1, 2, 3)]
    assert set(ends.values()) == {f"{block}.bn2" for block in ends}
    with pytest.raises(UsageError, match="CaffeLeNet has no residual blocks"):
        lesion.residual_ends(registry.build("caffe_lenet"), torch.randn(1, 1, 28, 28))


def test_paths_of_two_blocks_by_hand() -> None:
    net, x = chain(3.0, 5.0), torch.ones(1, 1, 1, 2)  # 2 logits
    found = lesion.paths(net, x, torch.tensor([0]), draws=40)
    loss_gradient = torch.tensor([-0.5, 0.5]).norm().item()  # equal logits
    np.testing.assert_allclose(found.share, [0.25, 0.5, 0.25])
    np.testing.assert_allclose(found.gradient[0], loss_gradient, rtol=1e-5)
    np.testing.assert_allclose(found.gradient[2], 15 * loss_gradient, rtol=1e-5)
    assert set(np.round(found.gradient[1] / loss_gradient).tolist()) == {3, 5}
    assert found.contribution.sum() == pytest.approx(1)


def test_exchanged_blocks_compute_in_each_others_place() -> None:
    net = nn.Sequential(Scale(1.0), Scale(2.0))
    seen: list[float] = []
    net[0].register_forward_hook(lambda _, __, output: seen.append(output.item()))
    x = torch.ones(1, 1, 1, 1)
    with torch.no_grad():
        with lesion.exchanged(net, {"0": "1", "1": "0"}):
            assert net(x).item() == 6
        assert net(x).item() == 6
    assert seen == [3, 2]


def test_every_lesion_is_measured_once_and_healed() -> None:
    torch.manual_seed(0)
    net, x = registry.build("cifar_resnet20").eval(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        truth = net(x).argmax(1)
        found = lesion.lesions(
            net, x, lambda: (net(x).argmax(1) != truth).double().mean().item(), draws=2, most=3, swaps=4
        )
        assert torch.equal(net(x).argmax(1), truth)
    assert found.intact == 0
    assert found.one.shape == (9,)
    assert found.several.shape == (3, 2)
    assert (found.orders < 1).all()
    assert len(lesion.figure(found, lesion.paths(net, x, truth, draws=2)).axes) == 4


def test_a_plain_network_loses_layers_that_keep_the_shape() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.Flatten())
    x = torch.rand(2, 1, 4, 4)
    assert lesion.same_shape_layers(net) == ["1", "3"]
    with torch.no_grad():
        expected = net[3](net[0](x).relu()).flatten(1)
        with lesion.without_layers(net, ["1"]):
            assert torch.equal(net(x), expected)
        found = lesion.lesions(net, x, lambda: 0.5, draws=1)
    assert found.parts == ("1", "3")
    assert len(found.orders) == 0
    assert len(lesion.figure(found, None).axes) == 2


def test_kendalls_tau_by_hand() -> None:
    assert lesion.kendalls_tau([0, 1, 2, 3]) == 1
    assert lesion.kendalls_tau([3, 2, 1, 0]) == -1
    assert lesion.kendalls_tau([1, 0, 2, 3]) == pytest.approx(1 - 2 / 6)
