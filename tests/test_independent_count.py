"""The totals of the ledger against a count that shares no line with ours: torch's own counter of operations."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convatlas import facts, registry
from convatlas.records import LearnsByItself

# What torch sees otherwise: it knows neither sub-sampling nor distances, and takes a table of connections for zeros.
OTHERWISE = {
    "lenet5": 16 * 6 * 25 * 100 - 60 * 25 * 100 - 4 * (6 * 196 + 16 * 25) - 10 * 84,
    "lenet_1989": 12 * (12 - 8) * 25 * 16,
}


def totals(name: str) -> facts.Totals | None:
    network = facts.network(name)
    return network.totals if network else None


def count(net: nn.Module, shape: tuple[int, ...], *, training: bool) -> int:
    """Multiply-adds of one sample; an operation of torch's counter is half of one."""
    samples = 2 if training else 1
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.train(training)(torch.empty(samples, *shape, device="meta"))
    return counter.get_total_flops() // 2 // samples


COUNTED = [
    pytest.param(name, marks=pytest.mark.slow if name.endswith(("1001", "1202", "1202_released")) else ())
    for name in registry.names("classification")
    if totals(name) is not None
]


@pytest.mark.parametrize("name", COUNTED)
def test_torch_counts_what_the_ledger_says(name: str) -> None:
    expected, shape = totals(name), registry.card(name).input_shape
    assert expected is not None
    with torch.device("meta"):
        net = registry.build(name)
    if isinstance(net, LearnsByItself):
        pytest.skip("its layers are no convolutions that torch could count")
    assert count(net, shape, training=False) == expected.multiply_adds + OTHERWISE.get(name, 0)
    learnable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    if expected.parameters_with_aux is None:
        assert learnable == expected.parameters
    else:
        assert learnable == expected.parameters_with_aux
        assert count(net, shape, training=True) == expected.multiply_adds_with_aux


def test_the_ledger_has_totals_for_most() -> None:
    assert len(COUNTED) > 85
