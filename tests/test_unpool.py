"""Switches: each value goes back where it came from, also from windows that overhang the map."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import trace
from convatlas.blocks.unpool import MirroredSequential, Switches, SwitchPool2d, SwitchUnpool2d
from convatlas.errors import UsageError


def test_values_go_back_where_they_came_from() -> None:
    x = torch.tensor([[[[1.0, 2, 0, 5], [4, 3, 6, 0]]]])
    pooled, switches = SwitchPool2d()(x)
    assert pooled.tolist() == [[[[4, 6]]]]
    assert switches.places.tolist() == [[[[4, 6]]]]
    assert switches.size == (2, 4)
    assert SwitchUnpool2d()(10 * pooled, switches).tolist() == [[[[0, 0, 0, 0], [40, 0, 60, 0]]]]


@pytest.mark.parametrize(
    ("size", "ceil_mode"),
    [((4, 6), False), ((5, 7), False), ((45, 3), False), ((4, 6), True), ((5, 7), True), ((1, 1), True)],
)
def test_odd_sizes_come_back(size: tuple[int, int], ceil_mode: bool) -> None:
    x = torch.rand(2, 3, *size) + 1
    pooled, switches = SwitchPool2d(ceil_mode=ceil_mode)(x)
    back = SwitchUnpool2d()(pooled, switches)
    assert back.shape == x.shape
    assert torch.equal(back[back > 0], x[back > 0])  # the maxima, in their places
    assert int((back > 0).sum()) == pooled.numel()
    assert torch.equal(F.max_pool2d(back, 2, ceil_mode=ceil_mode), pooled)
    assert torch.equal(back, F.max_unpool2d(pooled, switches.places, 2, output_size=list(size)))


def test_the_gradient_takes_the_same_way_back() -> None:
    x = torch.rand(1, 2, 5, 5, requires_grad=True)
    pooled, switches = SwitchPool2d(ceil_mode=True)(x)
    values = torch.rand_like(pooled, requires_grad=True)
    weight = torch.rand(1, 2, 5, 5)
    (SwitchUnpool2d()(values, switches) * weight).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, weight.flatten(2).gather(2, switches.places.flatten(2)).view_as(values))


def test_other_shapes_are_refused() -> None:
    switches = Switches(torch.zeros(1, 2, 3, 3, dtype=torch.long), (6, 6))
    with pytest.raises(UsageError, match="the values to unpool are 1 x 2 x 2 x 3; expected 1 x 2 x 3 x 3"):
        SwitchUnpool2d()(torch.zeros(1, 2, 2, 3), switches)


def test_the_last_pooling_is_undone_first() -> None:
    net = MirroredSequential(SwitchPool2d(), SwitchPool2d(), SwitchUnpool2d(), SwitchUnpool2d())
    x = torch.rand(1, 1, 8, 8) + 1
    kept = net(x)
    assert torch.equal(F.max_pool2d(kept, 4), F.max_pool2d(x, 4))
    assert int((kept > 0).sum()) == 4
    assert torch.equal(kept[kept > 0], x[kept > 0])


def test_traced_as_pooling_and_unpooling() -> None:
    net = MirroredSequential(SwitchPool2d(ceil_mode=True), SwitchUnpool2d(), nn.Conv2d(1, 1, 3, padding=1))
    with torch.device("meta"):
        pool, unpool, conv = trace(net.to("meta"), (1, 7, 9))
    assert (pool.kind, pool.output_shape, pool.multiply_adds) == ("maxpool", (1, 4, 5), 0)
    assert (unpool.kind, unpool.output_shape, unpool.multiply_adds) == ("unpool", (1, 7, 9), 0)
    assert set(unpool.inputs) == {0}
    fields = receptive_fields((pool, unpool, conv))
    assert [field.size if field else None for field in fields] == [(2, 2), (2, 2), (4, 4)]
