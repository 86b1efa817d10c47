"""ResNeXt: the three forms of figure 3 are one function, and the whole against torchvision and timm."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.resnext import (
    AggregatedBlock,
    ConcatenatedBlock,
    GroupedBlock,
    aggregated_state,
    concatenated_state,
    grouped_state,
)

DISPUTED = {"resnext50_32x4d": 1, "resnext101_32x4d": 1, "resnext101_64x4d": 1}
NAMES = (*DISPUTED, "cifar_resnext29_8x64d", "cifar_resnext29_16x64d")


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_holds(name: str) -> None:
    verdicts = [row.verdict for row in verify(name)]
    assert "fails" not in verdicts
    assert verdicts.count("disputed") == DISPUTED.get(name, 0)


FORMS = [(AggregatedBlock, aggregated_state), (ConcatenatedBlock, concatenated_state)]
SHAPES = [pytest.param(6, 10, 3, 2, 2, id="strided"), pytest.param(8, 8, 4, 1, 1, id="identity shortcut")]


def randomise_statistics(net: nn.Module) -> None:
    """Without it all the normalisations are alike, and a mix-up would go unseen."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor, std=0.5)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 2)


@pytest.mark.parametrize(("form", "convert"), FORMS)
@pytest.mark.parametrize(("inputs", "outputs", "cardinality", "width", "stride"), SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_the_three_forms_are_equal(form, convert, inputs, outputs, cardinality, width, stride, training) -> None:
    torch.manual_seed(0)
    grouped = GroupedBlock(inputs, outputs, cardinality, width, stride).double().train(training)
    randomise_statistics(grouped)
    other = form(inputs, outputs, cardinality, width, stride).double().train(training)
    other.load_state_dict(convert(grouped.state_dict(), cardinality))
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in grouped.parameters())
    x = torch.randn(2, inputs, 7, 6, dtype=torch.float64)
    expected = grouped(x)
    torch.testing.assert_close(other(x), expected, rtol=0, atol=1e-12)
    (expected**2).sum().backward()
    (other(x) ** 2).sum().backward()
    gradients = convert({name: p.grad for name, p in grouped.named_parameters()}, cardinality)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("form", "convert"), FORMS)
def test_weights_go_there_and_back(form, convert) -> None:
    torch.manual_seed(0)
    state = GroupedBlock(6, 10, 3, 2, 2).state_dict()
    back = grouped_state(convert(state, 3))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_a_whole_network_in_form_a() -> None:
    """A trained network can be taken apart: every block replaced by its equal of aggregated paths."""
    torch.manual_seed(0)
    net = registry.build("resnext50_32x4d", num_classes=3).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = net(x)
        block = net.get_submodule("conv2_x.conv2_1")
        assert isinstance(block, GroupedBlock)
        paths = AggregatedBlock(64, 256, 32, 4, 1).eval()
        paths.load_state_dict(aggregated_state(block.state_dict(), block.cardinality))
        net.set_submodule("conv2_x.conv2_1", paths)
        torch.testing.assert_close(net(x), expected)


def test_groups_and_widths_of_the_templates() -> None:
    with torch.device("meta"):
        net = registry.build("resnext101_64x4d")
        cifar = registry.build("cifar_resnext29_8x64d")
    first, last = net.get_submodule("conv2_x.conv2_1.conv2"), net.get_submodule("conv5_x.conv5_3.conv2")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    assert (first.groups, first.out_channels, last.groups, last.out_channels) == (64, 256, 64, 2048)
    conv = cifar.get_submodule("stage3.1.conv2")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.groups, conv.out_channels, conv.stride) == (8, 2048, (2, 2))


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("torchvision", "resnext50_32x4d"),
        pytest.param("torchvision", "resnext101_64x4d", marks=pytest.mark.slow),
        pytest.param("timm", "resnext101_32x4d", marks=pytest.mark.slow),
    ],
)
def test_equals_the_library_s(library: str, name: str) -> None:
    torch.manual_seed(0)
    if library == "timm":
        theirs = pytest.importorskip("timm").create_model(name, num_classes=10)
    else:
        theirs = pytest.importorskip("torchvision.models").get_model(name, num_classes=10)
    theirs, ours = theirs.double().eval(), registry.build(name, num_classes=10).double().eval()
    randomise_statistics(theirs)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 33, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
