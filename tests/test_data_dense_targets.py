"""Weight maps, class weights and heat maps, by hand and against other ways to compute them."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from convatlas.data.pose.heatmaps import draw_heatmaps
from convatlas.data.segmentation.class_weights import count_classes, inverse_log, median_frequency
from convatlas.data.segmentation.weight_map import separation, weight_map
from convatlas.errors import UsageError


def test_weight_map_by_hand() -> None:
    mask = torch.tensor([[1, 1, 0, 0, 0, 1, 255]], dtype=torch.uint8)  # gaps: 1 + 3, 2 + 2, 3 + 1 pixels
    gap = 10 * math.exp(-(4**2) / (2 * 5**2))
    weights = weight_map(mask)
    assert weights.tolist() == [pytest.approx([1, 1, 1 + gap, 1 + gap, 1 + gap, 1, 0])]
    unequal = weight_map(torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0]]))  # one cell alone has no gap
    assert unequal.tolist() == [pytest.approx([8 / 2] + [8 / 14] * 7)]
    assert weight_map(mask, class_weights=(0.5, 3.0), w0=0.0).tolist() == [[3, 3, 0.5, 0.5, 0.5, 3, 0]]


def test_a_slanted_membrane_separates() -> None:
    cells = torch.ones(6, 6, dtype=torch.uint8) - torch.eye(6, dtype=torch.uint8)
    assert weight_map(cells, class_weights=(1, 1)).diagonal().tolist() == pytest.approx(
        [1 + 10 * math.exp(-4 / 50)] * 6
    )


def test_membranes_may_be_the_one_class() -> None:
    mask = torch.tensor([[1, 0, 0, 1]])
    assert torch.equal(weight_map(1 - mask, cell=0, class_weights=(2, 1)), weight_map(mask, class_weights=(1, 2)))


def test_separation_equals_distances_of_every_cell_to_everywhere() -> None:
    generator = np.random.default_rng(0)
    cells, count = ndimage.label(ndimage.gaussian_filter(generator.random((90, 120)), 2) > 0.51)
    assert count > 20
    each = np.sort([ndimage.distance_transform_edt(cells != number) for number in range(1, count + 1)], axis=0)
    expected = np.where(cells == 0, 10 * np.exp(-((each[0] + each[1]) ** 2) / (2 * 1.5**2)), 0)
    assert np.abs(separation(cells, sigma_px=1.5) - expected).max() < 1e-6
    assert expected.max() > 4


def test_class_weights_by_hand() -> None:
    masks = [torch.tensor([[0, 0, 0, 1]]), torch.tensor([[0, 0, 2, 255]]), torch.tensor([[0, 1, 1, 1]])]
    counts = count_classes((mask.byte() for mask in masks), 4)
    assert counts.pixels.tolist() == [6, 4, 1, 0]
    assert counts.beside.tolist() == [11, 8, 3, 0]
    assert median_frequency(counts).tolist() == pytest.approx([0.5 / (6 / 11), 1, 0.5 / (1 / 3), 0])
    parts = (6 / 11, 4 / 11, 1 / 11, 0)
    assert inverse_log(counts).tolist() == pytest.approx([1 / math.log(1.02 + p) for p in parts])
    with pytest.raises(UsageError, match="mask 0 has classes 4 to 4; expected 0 to 3"):
        count_classes([torch.tensor([[4]])], 4)


def test_heatmaps_by_hand() -> None:
    joints = torch.tensor([[[17.9, 10.0], [0.0, 3.0], [math.nan, 1.0]]])  # in pixels (4, 2) and (0, 0) of the map
    maps = draw_heatmaps(joints, torch.tensor([[True, True, False]]), (6, 10))
    assert maps.shape == (1, 3, 6, 10)
    assert maps[0, 0, 2].tolist() == pytest.approx([0, *(math.exp(-(d**2) / 2) for d in (3, 2, 1, 0, 1, 2, 3)), 0, 0])
    assert maps[0, 0, 5, 7] == pytest.approx(math.exp(-9))  # the window's corner
    assert maps[0, 1, 0, 0] == 1
    assert maps[0, 1].count_nonzero() == 4 * 4
    assert maps[0, 2].count_nonzero() == 0


def test_a_joint_outside_shows_only_its_tail() -> None:
    joints = torch.tensor([[[-5.0, 8.0], [-13.0, 8.0]]])  # two, then four pixels of the map beyond its edge
    maps = draw_heatmaps(joints, torch.ones(1, 2, dtype=torch.bool), (6, 10))
    assert maps[0, 0, 2].tolist() == pytest.approx([math.exp(-2), math.exp(-4.5)] + [0] * 8)
    assert maps[0, 1].count_nonzero() == 0


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match=r"mask has values \[2\]; expected 0, 1 and 255"):
        weight_map(torch.tensor([[2]]))
    with pytest.raises(UsageError, match="cell of 0 or 1"):
        weight_map(torch.tensor([[1]]), cell=2)
    with pytest.raises(UsageError, match=r"expected \(B, J, 2\) and \(B, J\)"):
        draw_heatmaps(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), (4, 4))
