"""Colours, overlays, boundary errors and skeletons, pixel by pixel."""

import numpy as np
import pytest

from convatlas.errors import UsageError
from convatlas.visualise import overlays, palettes

IMAGE = np.full((6, 8), 100, dtype=np.uint8)
HALVES = np.broadcast_to(np.arange(8) >= 4, (6, 8)).astype(np.uint8)


def test_voc_colours_by_hand() -> None:
    colours = palettes.voc()
    published = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {label: tuple(colours[label].tolist()) for label in published} == published
    assert tuple(colours[255]) == (224, 224, 192)
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


def test_known_classes_have_their_own_colours() -> None:
    names = ["Sky", "Building", "Pole", "Road", "Pavement", "Tree", "Sign_Symbol", "Fence", "Car", "Pedestrian"]
    assert np.array_equal(palettes.for_classes([*names, "Bicyclist"]), palettes.CAMVID)
    assert np.array_equal(palettes.for_classes(["cell", "membrane"]), palettes.voc(2))


def test_overlay_by_hand() -> None:
    mask = HALVES.copy()
    mask[0, 0] = 255
    drawn = overlays.overlay(IMAGE, mask, palettes.voc(2), opacity=0.5)
    assert drawn[3, 7].tolist() == [114, 50, 50]  # the mean of (128, 0, 0) and 100
    assert drawn[3, 1].tolist() == [50, 50, 50]
    assert drawn[3, 4].tolist() == [51, 22, 22]  # 0.45 of it along the border
    assert drawn[0, 0].tolist() == [round(0.45 * 105)] * 3  # void is grey, and borders on what is labelled
    assert IMAGE.max() == IMAGE.min() == 100  # left as it was


def test_boundary_errors_by_hand() -> None:
    found = np.broadcast_to(np.arange(8) >= 6, (6, 8)).astype(np.uint8)
    near = overlays.boundary_errors(IMAGE, found, HALVES, tolerance=0.2)  # 2 pixels of 10
    assert near[2].tolist()[3:5] == [list(overlays.RIGHT)] * 2
    assert near[2, 6].tolist() == [190, 190, 190]
    far = overlays.boundary_errors(IMAGE, found, HALVES, tolerance=0.15)
    assert far[2].tolist()[3:7] == [list(overlays.MISSED)] * 2 + [list(overlays.INVENTED)] * 2
    void = np.where(np.arange(8) >= 5, 255, HALVES)
    assert overlays.boundary_errors(IMAGE, found, void, tolerance=0.1)[2, 6].tolist() == [190, 190, 190]


def test_the_legend_wraps_and_names_each_class_once() -> None:
    image = np.zeros((50, 200, 3), dtype=np.uint8)
    one = overlays.with_legend(image, ["sky", "road"], palettes.voc(2), [0])
    many = overlays.with_legend(image, ["a rather long name"] * 9, palettes.voc(9), range(9))
    assert one.shape[1] == many.shape[1] == 200
    assert 50 < len(one) < len(many)
    for label in range(9):
        assert (many[50:] == palettes.voc(9)[label]).all(axis=2).sum() > 50
    assert np.array_equal(many[:50], image)


def test_a_skeleton_leaves_out_what_is_not_visible() -> None:
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    joints = np.array([[10.5, 10.5], [50.5, 10.5], [30, 30], [np.nan, 5]])  # the middles of pixels 10 and 50
    seen = np.array([True, True, False, True])
    drawn = overlays.skeleton(image, joints, seen, ((0, 1), (1, 2), (0, 3)), left=(1,))
    assert drawn[10, 10].tolist() == list(overlays.MIDDLE)
    assert drawn[10, 30] / drawn[10, 30].max() == pytest.approx(np.array(overlays.LEFT_SIDE) / 255, abs=0.01)
    assert not drawn[15:].any()
    for limbs, count in ((overlays.MPII_LIMBS, 16), (overlays.COCO_LIMBS, 17)):
        assert {joint for limb in limbs for joint in limb} == set(range(count))


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="expected the image's"):
        overlays.overlay(IMAGE, HALVES[:3], palettes.voc(2))
    with pytest.raises(UsageError, match="the mask has class 1; expected 0 to 0"):
        overlays.overlay(IMAGE, HALVES, palettes.voc(1))
