"""Invariance and equivariance on networks whose answers are known."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from convatlas.errors import UsageError
from convatlas.visualise import invariance


def test_motions_by_hand() -> None:
    x = torch.zeros(1, 1, 4, 8)
    x[0, 0, 1, 2] = 1
    assert invariance.move(x, "translation", 0.25)[0, 0, 2, 2] == pytest.approx(1, abs=1e-5)
    assert torch.allclose(invariance.move(x, "scale", 1.0), x, atol=1e-6)
    assert torch.allclose(invariance.move(x, "rotation", 180.0), x.flip(2, 3), atol=1e-5)
    square = torch.rand(1, 1, 5, 5)
    assert torch.allclose(invariance.move(square, "rotation", 90.0), square.rot90(1, (2, 3)), atol=1e-5)
    with pytest.raises(UsageError, match="motion is 'shear'"):
        invariance.move(x, "shear", 1.0)


def test_twice_the_size_shows_the_middle() -> None:
    x = torch.rand(1, 1, 8, 8)
    large = invariance.move(x, "scale", 2.0)
    expected = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")[:, :, 4:12, 4:12]
    assert torch.allclose(large, expected, atol=1e-5)


def net_of(*layers: tuple[str, nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(layers))


def test_the_original_is_at_no_distance_and_motion_costs() -> None:
    net = net_of(
        ("conv", nn.Conv2d(1, 4, 3)), ("relu", nn.ReLU()), ("flat", nn.Flatten()), ("fc", nn.Linear(4 * 36, 3))
    )
    found = invariance.curves(
        net, torch.rand(2, 1, 8, 8), [0, 2], ["conv", "fc"], motion="translation", amounts=(0, 0.25)
    )
    assert found.probabilities.shape == (2, 2)
    for distances in found.distances.values():
        np.testing.assert_allclose(distances[:, 0], 0, atol=1e-5)
        assert (distances[:, 1] > 0.01).all()
    assert len(invariance.figure([found]).axes) == 3


def test_a_convolution_follows_a_shift_and_a_stride_only_its_multiples() -> None:
    net = net_of(
        ("conv", nn.Conv2d(1, 4, 3, padding=1)),
        ("thin", nn.Conv2d(4, 4, 1, stride=2)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
    )
    one, two = invariance.equivariance(net, torch.rand(3, 1, 34, 16), ["conv", "thin"], shifts=(1, 2))
    assert one.moved.shape == (3, 2)
    np.testing.assert_allclose(one.followed, 0, atol=1e-5)
    assert (one.moved > 0.1).all()
    assert (two.followed[:, 0] > 0.1).all()
    np.testing.assert_allclose(two.followed[:, 1], 0, atol=1e-5)
    assert len(invariance.equivariance_figure([one, two]).axes) == 3
    with pytest.raises(UsageError, match="shifts reach 40 pixels"):
        invariance.equivariance(net, torch.rand(1, 1, 34, 16), ["conv"], shifts=(40,))
