"""Network in Network: its ledger, its initialisation, its classes as maps, and its 1-D and 3-D kin."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.nin import NiNCifar10, NiNImageNet
from convatlas.blocks.dims import CONVS


def convolutions(net: nn.Module) -> dict[str, tuple[int, int, int]]:
    """(in, out, filter side) of each convolution."""
    return {
        name: (layer.in_channels, layer.out_channels, layer.kernel_size[0])
        for name, layer in net.named_modules()
        if isinstance(layer, CONVS)
    }


@pytest.mark.parametrize("name", ["nin_cifar10", "nin_imagenet"])
def test_ledger_holds(name: str) -> None:
    assert [row for row in verify(name) if row.verdict != "holds"] == []


def test_logits_are_the_means_of_the_class_maps() -> None:
    torch.manual_seed(0)
    net, maps = NiNCifar10(num_classes=3).eval(), []
    net.get_submodule("relu_cccp6").register_forward_hook(lambda *values: maps.append(values[2]))
    with torch.no_grad():
        logits = net(torch.randn(2, 3, 20, 12))
    assert maps[0].shape == (2, 3, 5, 3)
    assert maps[0].min() >= 0
    torch.testing.assert_close(logits, maps[0].mean(dim=(2, 3)))


def test_a_mlpconv_is_a_perceptron_at_every_position() -> None:
    """The two 1x1 convolutions against a matrix product at one position."""
    torch.manual_seed(0)
    net, x = NiNCifar10(), torch.randn(1, 192, 4, 4)
    with torch.no_grad():
        out = net.get_submodule("cccp2")(torch.relu(net.get_submodule("cccp1")(x)))[0, :, 2, 1]
        first, second = net.get_parameter("cccp1.weight").flatten(1), net.get_parameter("cccp2.weight").flatten(1)
        torch.testing.assert_close(out, second @ torch.relu(first @ x[0, :, 2, 1]))


@pytest.mark.parametrize(("network", "narrow"), [(NiNCifar10, ()), (NiNImageNet, ("conv1", "conv3", "cccp8"))])
def test_initialisation(network: type[nn.Module], narrow: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    for name, layer in network().named_children():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01 if name in narrow else 0.05, rel=0.05), name
            assert layer.get_parameter("bias").abs().max() == 0


@pytest.mark.parametrize("dims", [1, 3])
def test_other_dims_have_the_same_channels(dims: int) -> None:
    net = NiNCifar10(in_channels=2, dims=dims).eval()
    assert convolutions(net) == convolutions(NiNCifar10(in_channels=2))
    assert net(torch.randn(2, 2, *dims * (8,))).shape == (2, 10)


@pytest.mark.parametrize("dims", [1, 3])
def test_builders_take_dims(dims: int) -> None:
    with torch.device("meta"):
        net = registry.card("nin_imagenet").builder(num_classes=7, in_channels=2, dims=dims)
        assert net(torch.empty(1, 2, *dims * (67,))).shape == (1, 7)


def test_accepts_other_sizes() -> None:
    with torch.device("meta"):
        for net, side in ((NiNCifar10(), 4), (NiNCifar10(), 96), (NiNImageNet(), 39), (NiNImageNet(), 512)):
            assert net(torch.empty(1, 3, side, side)).dim() == 2


@pytest.mark.slow
def test_learns_eight_images_by_heart() -> None:
    torch.manual_seed(0)
    net, x, y = NiNCifar10(num_classes=4), torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert net.eval()(x).argmax(1).tolist() == y.tolist()
