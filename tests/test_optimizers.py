"""The papers' optimisers: two steps by hand, and against independent implementations."""

import pytest
import torch
from timm.optim import RMSpropTF
from torch import nn

from convatlas.training.optimizers import KrizhevskySGD, TensorFlowRMSProp


def test_krizhevskys_momentum_by_hand():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = KrizhevskySGD([w], lr=0.1, momentum=0.9, weight_decay=0.5)
    w.grad = torch.tensor([2.0])
    optimizer.step()  # v = -0.5 * 0.1 * 1 - 0.1 * 2 = -0.25
    assert w.item() == pytest.approx(0.75)
    optimizer.param_groups[0]["lr"] = 0.01
    w.grad = torch.tensor([1.0])
    optimizer.step()  # v = 0.9 * -0.25 - 0.5 * 0.01 * 0.75 - 0.01 * 1 = -0.23875
    assert w.item() == pytest.approx(0.51125)


def test_rmsprop_by_hand():
    w = torch.tensor([1.0], requires_grad=True)
    optimizer = TensorFlowRMSProp([w], lr=0.1, decay=0.9, eps=1.0, momentum=0.9, weight_decay=0.0)
    w.grad = torch.tensor([3.0])
    optimizer.step()  # s = 0.9 * 1 + 0.1 * 9 = 1.8; v = 0.1 * 3 / sqrt(2.8)
    v = 0.3 / 2.8**0.5
    assert w.item() == pytest.approx(1 - v)
    w.grad = torch.tensor([-1.0])
    optimizer.step()  # s = 0.9 * 1.8 + 0.1 = 1.72; v = 0.9 v - 0.1 / sqrt(2.72)
    assert w.item() == pytest.approx(1 - v - (0.9 * v - 0.1 / 2.72**0.5))


def test_rmsprop_equals_timms_port_of_tensorflow():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    settings = {"lr": 0.045, "momentum": 0.9, "weight_decay": 4e-5, "eps": 1.0}
    optimizers = (
        TensorFlowRMSProp(ours.parameters(), decay=0.9, **settings),
        RMSpropTF(theirs.parameters(), alpha=0.9, **settings),
    )
    for step in range(10):
        x = torch.randn(8, 5)
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.045 * 0.94**step
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)
    assert torch.allclose(ours.bias, theirs.bias, atol=1e-6)
