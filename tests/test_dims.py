"""One set of names for the layers of signals, pictures and volumes."""

import dataclasses

import pytest
import torch
from torch import nn

from convatlas.architectures.classification.lenet import CaffeLeNet
from convatlas.blocks.dims import BATCH_NORMS, CONVS, layers
from convatlas.structures import UsageError


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_layer_is_of_its_dims(dims: int) -> None:
    of = layers(dims)
    found = {field.name: getattr(of, field.name) for field in dataclasses.fields(of) if field.name != "dims"}
    assert all(cls.__name__.endswith(f"{dims}d") for cls in found.values())
    assert of.dims == dims
    assert of.conv in CONVS
    assert of.batch_norm in BATCH_NORMS


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_small_stack_runs(dims: int) -> None:
    of = layers(dims)
    net = nn.Sequential(
        of.conv(2, 3, 3, padding=1, bias=False),
        of.batch_norm(3),
        of.max_pool(3, stride=2, ceil_mode=True),
        of.map_dropout(0.5),
        of.avg_pool(2),
        of.adaptive_avg_pool(1),
    )
    assert net(torch.randn(2, 2, *dims * (8,))).shape == (2, 3, *dims * (1,))
    assert sum(p.numel() for p in net.parameters()) == 2 * 3 * 3**dims + 2 * 3


@pytest.mark.parametrize("dims", [0, 4])
def test_other_dims_are_refused(dims: int) -> None:
    with pytest.raises(UsageError, match=f"dims is {dims}; expected 1"):
        layers(dims)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_lenet_of_every_dims(dims: int) -> None:
    net = CaffeLeNet(dims=dims, in_channels=2)
    assert net(torch.randn(2, 2, *dims * (28,))).shape == (2, 10)
    assert net.get_parameter("ip1.weight").shape == (500, 50 * 4**dims)
