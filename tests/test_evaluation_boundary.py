"""Boundaries by hand, and against scipy's distances."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from convatlas.errors import UsageError
from convatlas.evaluation.boundary import BoundaryMeter, TrimapMeter, borders, boundary, boundary_f1
from convatlas.evaluation.segmentation import scores


def test_boundaries_are_the_pixels_that_touch_another_along_an_edge() -> None:
    square = np.zeros((5, 6), dtype=bool)
    square[1:4, 1:5] = True
    ring = square.copy()
    ring[2, 2:4] = False
    assert np.array_equal(boundary(square), ring)
    assert borders(square).sum() == 10 + 14  # its rim, and what touches it; not the image's corners
    assert not borders(np.ones((3, 3), dtype=bool)).any()  # the image's edge is none


def test_boundary_f1_by_hand() -> None:
    mask = (torch.arange(8) >= 4).long().expand(6, 8)  # diagonal 10: the tolerance is 1 pixel at 0.1
    found = (torch.arange(8) >= 5).long().expand(6, 8)
    assert boundary_f1(found, mask, 3, tolerance=0.1)[:2].tolist() == [1, 1]
    assert boundary_f1(found, mask, 3, tolerance=0.099)[:2].tolist() == [0, 0]
    assert boundary_f1(found, mask, 3).isnan().tolist() == [False, False, True]
    spotted = found.clone()
    spotted[0, 0] = 1  # class 1 has 7 boundary pixels, 6 are right; class 0 has 6 + 2, of which 6 are right
    assert boundary_f1(spotted, mask, 2, tolerance=0.1).tolist() == pytest.approx([2 * 6 / (8 + 6), 2 * 6 / (7 + 6)])
    spotted_mask = mask.clone()
    spotted_mask[0, 0] = 255  # what is predicted on void is not judged
    assert boundary_f1(spotted, spotted_mask, 2, tolerance=0.1)[1] == 1


def test_a_class_that_fills_the_image_has_no_boundary() -> None:
    full, halves = torch.zeros(4, 4, dtype=torch.int64), (torch.arange(4) > 1).long().expand(4, 4)
    assert boundary_f1(full, full, 2).isnan().all()
    assert boundary_f1(full, halves, 2).tolist() == [0, 0]
    assert boundary_f1(halves, full, 2)[0] == 0


def test_the_meter_averages_images_then_all() -> None:
    halves = (torch.arange(8) >= 4).long().expand(1, 6, 8)
    three = torch.where(torch.arange(8) >= 7, 2, halves)
    meter = BoundaryMeter(3)
    meter.add(torch.cat((halves, halves)), torch.cat((halves, three)))
    # class 1 of the second image: 12 true boundary pixels, 6 of them found; class 2 is not found at all
    assert meter.of_class.tolist() == pytest.approx([1, (1 + 2 / 3) / 2, 0])
    assert meter.mean == pytest.approx((1 + (1 + 2 / 3 + 0) / 3) / 2)
    assert math.isnan(BoundaryMeter(3).mean)


def test_boundary_f1_equals_a_dilation() -> None:
    generator = np.random.default_rng(0)
    mask, found = (ndimage.zoom(generator.integers(0, 3, (6, 8)), 8, order=0) for _ in range(2))
    found[:, :30] = np.roll(mask, 1, axis=1)[:, :30]
    reach = 0.03 * math.hypot(*mask.shape)
    down, right = np.mgrid[-5:6, -5:6]
    disk = down**2 + right**2 <= reach**2
    expected = []
    for label in range(3):
        rims = [
            (values == label) & ~ndimage.binary_erosion(values == label, border_value=1) for values in (mask, found)
        ]
        thick = [ndimage.binary_dilation(rim, disk) for rim in rims]
        precision, recall = (rims[1] & thick[0]).sum() / rims[1].sum(), (rims[0] & thick[1]).sum() / rims[0].sum()
        expected.append(2 * precision * recall / (precision + recall))
    ours = boundary_f1(torch.from_numpy(found), torch.from_numpy(mask), 3, tolerance=0.03)
    assert ours.tolist() == pytest.approx(expected)
    assert 0.2 < min(expected) < max(expected) < 0.95


def test_trimap_by_hand() -> None:
    mask = torch.tensor([[[0, 0, 0, 1, 1, 1, 255]]])
    found = torch.tensor([[[1, 0, 1, 1, 1, 1, 1]]])
    meter = TrimapMeter(2, widths=(1, 2, 3))
    meter.add(found, mask)
    # width 1: pixels 2, 3 and 5 (it touches void); 2: also 1 and 4; 3: also 0
    assert [int(confusion.sum()) for confusion in meter.confusions] == [3, 5, 6]
    assert meter.mean_iu.tolist() == pytest.approx([(0 + 2 / 3) / 2, (1 / 2 + 3 / 4) / 2, (1 / 3 + 3 / 5) / 2])


def test_the_widest_band_is_the_whole_image() -> None:
    generator = torch.Generator().manual_seed(0)
    mask, found = torch.randint(0, 3, (2, 2, 20, 30), generator=generator)
    meter = TrimapMeter(3, widths=(1, 100))
    meter.add(found, mask)
    whole = torch.bincount((mask * 3 + found).flatten(), minlength=9).view(3, 3)
    assert meter.mean_iu[1].item() == scores(whole).mean_iu


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="the mask has class 3; expected 0 to 1, or 255"):
        boundary_f1(torch.zeros(2, 2), torch.tensor([[0, 3], [255, 1]]), 2)
    with pytest.raises(UsageError, match="expected rising numbers from 1"):
        TrimapMeter(2, widths=(2, 1))
