"""Stochastic depth: which blocks are dropped, how often, and what is scaled in testing."""

import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.analysis.verify import verify
from convatlas.architectures.classification.stochastic_depth import (
    AveragePoolAndPad,
    DroppedBlock,
    StochasticDepth,
    survival_probabilities,
)

NAMES = tuple(f"stochastic_depth_{depth}{suffix}" for depth in (110, 1202) for suffix in ("", "_released"))


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_ledger_holds(name: str) -> None:
    assert {row.verdict for row in verify(name)} == {"holds"}


def test_release_has_a_bias_in_each_convolution() -> None:
    for name, expected in (("stochastic_depth_110", {False}), ("stochastic_depth_110_released", {True})):
        convs = [layer for layer in on_meta(name).modules() if isinstance(layer, nn.Conv2d)]
        assert {conv.bias is not None for conv in convs} == expected


def test_survival_falls_linearly_to_one_half() -> None:
    assert survival_probabilities(4) == (0.875, 0.75, 0.625, 0.5)
    net = on_meta("stochastic_depth_110")
    survivals = [block.survival for block in net.modules() if isinstance(block, DroppedBlock)]
    assert survivals == list(survival_probabilities(54))
    assert survivals[-1] == 0.5


def test_shortcut_by_hand() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    # windows {0, 1, 3, 4}, {2, 5}, {6, 7}, {8}: those at the edge are averaged over what they hold
    assert AveragePoolAndPad(1, 2, stride=2)(x).tolist() == [[[[2, 3.5], [6.5, 8]], [[0, 0], [0, 0]]]]


def test_a_block_is_dropped_for_the_whole_batch() -> None:
    torch.manual_seed(0)
    block, x = DroppedBlock(3, 3, 1, survival=0.7, bias=False), torch.randn(4, 3, 5, 5)
    dropped = 0
    for _ in range(500):
        y = block(x)
        same = [torch.equal(out, image.relu()) for out, image in zip(y, x, strict=True)]
        assert len(set(same)) == 1
        dropped += same[0]
    assert dropped / 500 == pytest.approx(0.3, abs=0.06)  # three standard deviations


def test_the_draws_are_those_of_the_global_generator() -> None:
    torch.manual_seed(0)
    net, x = StochasticDepth(20, bias=False, num_classes=10, in_channels=3), torch.randn(2, 3, 8, 8)

    def step(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return net(x)

    with torch.no_grad():
        assert torch.equal(step(1), step(1))
        assert not torch.equal(step(1), step(2))


def test_testing_scales_the_branch_by_its_survival() -> None:
    torch.manual_seed(0)
    block, x = DroppedBlock(3, 3, 1, survival=0.7, bias=False).eval(), torch.randn(2, 3, 5, 5)
    branch = block.bn2(block.conv2(block.relu1(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), (x + 0.7 * branch).relu())


def test_what_is_dropped_gets_no_gradient() -> None:
    block = DroppedBlock(3, 3, 1, survival=0.0, bias=False)
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    block(x).sum().backward()
    assert all(p.grad is None for p in block.parameters())
    assert x.grad is not None


def test_nothing_is_drawn_in_testing() -> None:
    block, x = DroppedBlock(3, 3, 1, survival=0.0, bias=False).eval(), torch.randn(2, 3, 5, 5)
    before = torch.get_rng_state()
    block(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_odd_sizes() -> None:
    net = on_meta("stochastic_depth_110")
    assert net(torch.empty(2, 3, 41, 9, device="meta")).shape == (2, 10)
    assert net.eval()(torch.empty(2, 3, 41, 9, device="meta")).shape == (2, 10)
