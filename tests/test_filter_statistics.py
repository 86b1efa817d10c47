"""The frequencies of filters and the dead ones, by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from convatlas import registry
from convatlas.visualise import filter_statistics
from convatlas.visualise.filter_statistics import BIN, Dead, near_zero, never_positive, spectrum


@pytest.mark.parametrize(("down", "right"), [(0, 8), (16, 0), (12, 16)])
def test_a_wave_has_its_energy_at_its_frequency(down: int, right: int) -> None:
    """`down` and `right` cycles over 64 pixels: all energy at +- that frequency, and so in one ring."""
    y, x = np.mgrid[:64, :64]
    wave = np.cos(2 * math.pi * (down * y + right * x) / 64).astype(np.float32)[None, None]
    found = spectrum(wave, (2, 2))
    assert found.energy[32 + down, 32 + right] == pytest.approx(0.5, abs=1e-5)
    assert found.energy[32 - down, 32 - right] == pytest.approx(0.5, abs=1e-5)
    ring = int(math.hypot(down, right) / 64 / BIN)
    assert found.radial[0, ring] == pytest.approx(1, abs=1e-5)
    assert found.radii[ring] == pytest.approx((ring + 0.5) / 32)
    assert spectrum(wave, (4, 4)).aliased[0] == pytest.approx(float(max(down, right) > 8), abs=1e-5)  # 64 / (2 x 4)


def test_a_single_pixel_has_all_frequencies_alike_and_zeros_have_none() -> None:
    filters = np.zeros((2, 3, 5, 5), np.float32)
    filters[0, 1, 2, 3] = -4
    found = spectrum(filters, (1, 1))
    np.testing.assert_allclose(found.energy, 0.5 / 64**2, rtol=1e-4)  # the mean with a filter that has none
    np.testing.assert_allclose(found.radial.sum(axis=1), [1, 0], atol=1e-5)
    assert found.aliased.tolist() == [0, 0]


def test_a_filter_larger_than_the_spectrum_is_not_cut() -> None:
    wave = np.cos(2 * math.pi * 20 * np.arange(80) / 80)[None, None, None].repeat(80, axis=2).astype(np.float32)
    found = spectrum(wave, (4, 4))
    assert found.radial[0, 8] == pytest.approx(1, abs=1e-5)  # a quarter of a cycle a pixel
    assert found.aliased[0] == pytest.approx(1, abs=1e-5)


def test_dead_filters_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2), nn.ReLU6()).train()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0, 0.005]).reshape(3, 1, 1, 1))
        net[0].bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
        net[3].weight.copy_(torch.stack([torch.ones(12), -torch.ones(12)]))
        net[3].bias.zero_()
    assert near_zero(net) == [Dead("0", 3, (2,)), Dead("3", 2, ())]
    bright, dark = torch.ones(2, 1, 2, 2), -torch.ones(1, 1, 2, 2)
    assert never_positive(net, [bright]) == [Dead("1", 3, (1, 2)), Dead("4", 2, (1,))]
    assert never_positive(net, [bright, dark]) == [Dead("1", 3, (2,)), Dead("4", 2, (1,))]
    assert net.training
    assert not net[1]._forward_hooks


def test_a_network_without_rectifiers_has_no_silent_units() -> None:
    assert never_positive(registry.build("lenet5"), [torch.rand(1, 1, 32, 32)]) == []


@pytest.mark.parametrize("silent", [[], [Dead(f"relu{i}", 10, (1,)) for i in range(60)]])
def test_statistics_are_drawn(silent: list[Dead]) -> None:
    filters = np.random.default_rng(0).normal(size=(4, 3, 7, 7)).astype(np.float32)
    sheet = filter_statistics.figure(spectrum(filters, (2, 2)), silent)
    titles = [axis.get_title(loc="left") for axis in sheet.axes if axis.get_title(loc="left")]
    assert titles[:2] == ["mean spectrum", "share of energy by frequency"]
    assert len(titles) == (3 if silent else 2)
