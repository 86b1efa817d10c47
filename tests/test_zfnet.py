"""ZFNet: the sizes of figure 3, the order of its layers, and the limit on its filters."""

import pytest
import torch
from torch import nn

from convatlas.analysis.verify import verify
from convatlas.architectures.classification.zfnet import ZFNet, renormalise_filters_


@pytest.fixture(scope="module")
def zfnet() -> ZFNet:
    torch.manual_seed(0)
    return ZFNet(num_classes=10)


def test_ledger_holds() -> None:
    assert [row for row in verify("zfnet") if row.verdict != "holds"] == []


def test_pools_before_it_normalises(zfnet: ZFNet) -> None:
    names = list(dict(zfnet.named_children()))
    assert names[:4] == ["conv1", "relu1", "pool1", "norm1"]
    assert names[4:8] == ["conv2", "relu2", "pool2", "norm2"]


def test_normalisation_by_hand(zfnet: ZFNet) -> None:
    """Five maps valued 10: the middle one sees all of them, the first one three."""
    a = torch.full((1, 5, 1, 1), 10.0, dtype=torch.float64)
    out = zfnet.get_submodule("norm1")(a).flatten()
    assert out[2].item() == pytest.approx(10 / (2 + 1e-4 * 500) ** 0.75, rel=1e-9)
    assert out[0].item() == pytest.approx(10 / (2 + 1e-4 * 300) ** 0.75, rel=1e-9)


def test_pools_count_the_last_window(zfnet: ZFNet) -> None:
    row = torch.tensor([0.0, 1, 2, 3, 4, 5]).expand(1, 1, 6, 6)
    assert zfnet.get_submodule("pool1")(row)[0, 0, 0].tolist() == [2.0, 4.0, 5.0]


def test_initialisation(zfnet: ZFNet) -> None:
    for layer in zfnet:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
            assert layer.get_parameter("bias").abs().max() == 0


def test_filters_are_limited_by_hand() -> None:
    """Two filters of four weights: rms 0.05 stays, rms 0.5 becomes 0.1; fully connected layers are left alone."""
    conv, linear = nn.Conv2d(1, 2, 2), nn.Linear(2, 2)
    net = nn.Sequential(conv, linear)
    with torch.no_grad():
        conv.weight[0] = torch.tensor([[0.05, -0.05], [0.05, -0.05]])
        conv.weight[1] = torch.tensor([[0.7, -0.1], [0.1, 0.7]])
        linear.weight.fill_(9.0)
    assert renormalise_filters_(net) == 1
    torch.testing.assert_close(conv.weight[0, 0], torch.tensor([[0.05, -0.05], [0.05, -0.05]]))
    torch.testing.assert_close(conv.weight[1, 0], torch.tensor([[0.14, -0.02], [0.02, 0.14]]))
    assert linear.weight.unique().tolist() == [9.0]
    assert renormalise_filters_(net, limit=0.2) == 0


def test_zero_filters_stay_zero() -> None:
    conv = nn.Conv2d(1, 1, 3)
    nn.init.zeros_(conv.weight)
    assert renormalise_filters_(conv) == 0
    assert conv.weight.abs().max() == 0
