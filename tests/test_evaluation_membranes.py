"""The errors of the membrane challenge by hand, and against scikit-image and scikit-learn."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage import measure
from skimage.metrics import adapted_rand_error
from sklearn.metrics import rand_score

from convatlas.errors import UsageError
from convatlas.evaluation import membranes


def mask(*rows: str) -> NDArray[np.bool_]:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def test_rand_errors_by_hand() -> None:
    true, found = np.array([[1, 1, 1, 0, 2, 2]]), np.array([[1, 1, 0, 2, 2, 2]])
    # pairs joined: truly 3 + 1, found 1 + 3, both 1 + 1; of 15 pairs 2 + 2 disagree
    assert membranes.rand_error(found, true) == pytest.approx(4 / 15)
    # among true cells: truly 3 + 1, found 1 + 1, both 1 + 1
    assert membranes.foreground_rand_error(found, true) == pytest.approx(1 - 2 * 2 / (4 + 2))
    two = np.array([[0, 0, 1, 1]])  # predicted membrane inside a cell joins nothing
    assert membranes.foreground_rand_error(two, np.ones_like(two)) == pytest.approx(1 - 2 * 1 / (6 + 1))
    assert membranes.foreground_rand_error(np.zeros_like(two), np.ones_like(two)) == 1
    assert np.isnan(membranes.foreground_rand_error(two, np.array([[1, 0, 0, 2]])))


def test_rand_errors_equal_scikit_image_and_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    true = ndimage.zoom(generator.integers(0, 6, (6, 7)), 6, order=0)
    found = np.where(generator.random(true.shape) < 0.1, generator.integers(1, 5, true.shape), true + 1)
    assert membranes.rand_error(found, true) == pytest.approx(1 - rand_score(true.ravel(), found.ravel()))
    assert membranes.foreground_rand_error(found, true) == pytest.approx(adapted_rand_error(true, found)[0])
    cells = membranes.segments(mask("##.#", "#.##"))
    assert cells.tolist() == [[1, 1, 0, 2], [1, 0, 2, 2]]  # a membrane over a corner parts


def test_warping_by_hand() -> None:
    true = mask("......", ".####.", ".####.", "......")
    moved = mask("......", "..####", "..####", "......")
    assert membranes.pixel_error(moved, true) == 4 / 24
    assert membranes.warping_error(moved, true) == 0
    parted = mask("......", ".##.#.", ".##.#.", "......")  # one pixel of the wall has to stay open
    assert membranes.warping_error(parted, true) == 1 / 24
    assert np.array_equal(membranes.warp(true, true), true)
    holed = mask(".....", ".###.", ".#.#.", ".###.", ".....")
    filled = mask(".....", ".###.", ".###.", ".###.", ".....")
    assert membranes.warping_error(holed, filled) == membranes.warping_error(filled, holed) == 1 / 25
    assert membranes.warping_error(np.zeros_like(filled), filled) == 1 / 25  # a lost cell shrinks to a pixel


def test_simple_are_the_points_that_keep_cells_and_membranes() -> None:
    simple = membranes._simple_points()
    for code in range(256):
        around = np.zeros((5, 5), dtype=bool)
        for bit, (down, right) in enumerate(membranes._AROUND):
            around[2 + down, 2 + right] = code >> bit & 1
        with_middle = around.copy()
        with_middle[2, 2] = True
        counts = [
            (measure.label(image, connectivity=1).max(), measure.label(~image, connectivity=2).max())
            for image in (around, with_middle)
        ]
        assert simple[code] == (counts[0] == counts[1])
    assert simple.sum() == 116


def test_warping_keeps_the_topology() -> None:
    generator = np.random.default_rng(0)
    true, found = (ndimage.gaussian_filter(generator.random((60, 80)), 2) > 0.49 for _ in range(2))
    warped = membranes.warp(true, found)
    assert measure.label(true, connectivity=1).max() == measure.label(warped, connectivity=1).max()
    outsides = [measure.label(~np.pad(image, 1), connectivity=2).max() for image in (true, warped)]
    assert outsides[0] == outsides[1]
    assert membranes.pixel_error(found, warped) < 0.6 * membranes.pixel_error(found, true)
    for row, column in itertools.product(range(60), range(80)):  # nothing is left to flip
        if warped[row, column] != found[row, column]:
            flipped = np.pad(warped, 1)
            code = sum(
                int(flipped[1 + row + down, 1 + column + right]) << bit
                for bit, (down, right) in enumerate(membranes._AROUND)
            )
            assert not membranes._simple_points()[code]


def test_the_best_threshold_is_one_for_all_images() -> None:
    masks = [np.array([[True, False]]), np.array([[True, False]])]
    probabilities = [np.array([[0.9, 0.45]]), np.array([[0.35, 0.1]])]
    best = membranes.best_over_thresholds(probabilities, masks, membranes.pixel_error, (0.2, 0.5))
    assert best == (0.25, 0.2)
    with pytest.raises(UsageError, match="expected at least one"):
        membranes.best_over_thresholds(probabilities, masks, membranes.pixel_error, ())
    with pytest.raises(UsageError, match="expected one shape"):
        membranes.pixel_error(masks[0], masks[0].T)


@pytest.mark.data
@pytest.mark.slow
def test_a_shifted_slice_is_nearly_right_when_warped(data_root: Path) -> None:
    path = sorted((data_root / "isbi_em" / "labels").iterdir())[0]
    true = np.array(Image.open(path)) > 0
    found = np.roll(true, 2, axis=1)
    assert membranes.warping_error(found, true) < 0.1 * membranes.pixel_error(found, true)
    ours = membranes.foreground_rand_error(membranes.segments(true), membranes.segments(true))
    assert ours == pytest.approx(0, abs=1e-12)
