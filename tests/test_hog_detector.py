"""Gradients, windows and the SVM over them: blocks by hand, boxes where they are, and rings told from crosses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import ConvatlasError
from convatlas.records import Objects
from convatlas.training.hog_detector import fit_all, hard_windows, outlines, own_boxes, train_hog_svm
from convatlas.training.hog_features import BLOCK, Template, blocks, looks_at, pyramid, warped, windows


def scenes(root: Path, count: int, seed: int) -> DetectionSplit:
    """Rings (class 0, 40 to 56 pixels) and crosses (no class) on noise."""
    g = np.random.default_rng(seed)
    root.mkdir(exist_ok=True)
    pages = []
    for number in range(count):
        pixels = g.integers(80, 120, (128, 192, 3), dtype=np.uint8)
        radius, x, y = int(g.integers(20, 28)), int(g.integers(32, 64)), int(g.integers(32, 96))
        cv2.circle(pixels, (x, y), radius, (230, 230, 230), 5)
        cv2.line(pixels, (110, 30), (160, 90), (230, 230, 230), 5)
        cv2.line(pixels, (160, 30), (110, 90), (230, 230, 230), 5)
        file = root / f"{number}.png"
        cv2.imwrite(str(file), pixels)
        reach = radius + 2.0
        box = torch.tensor([[x - reach, y - reach, x + reach, y + reach]])
        pages.append(Annotated(str(file), (128, 192), box.clamp(min=0), torch.tensor([0]), torch.tensor([False])))
    return DetectionSplit(pages)


def test_blocks_are_normalised_and_know_the_edge() -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, 24:] = 200  # an upright edge between the third and the fourth cell
    found = blocks(pixels)
    assert found.shape == (BLOCK, 3, 5)
    assert found.square().sum(0).amax() == pytest.approx(1, abs=0.02)
    assert found[:, :, 0].abs().sum() == 0  # cells 1 and 2 see nothing
    assert found[:, :, 4].abs().sum() == 0
    assert (found[:, :, 2].abs().sum(0) > 1).all()


def test_a_window_that_holds_the_object_is_found_where_it_is() -> None:
    image = torch.zeros(3, 96, 128, dtype=torch.uint8)
    image[:, 24:56, 40:72] = 255  # 4 x 4 cells, at the cell (3, 5)
    template = Template(3, (4, 4), (32.0, 32.0), torch.zeros(BLOCK, 5, 5), 0.0)
    (level,) = [one for one in pyramid(image, [template]) if one.scale == 1.0]
    own = Template(
        3, (4, 4), (32.0, 32.0), level.blocks[:, 3:8, 5:10].clone(), -1.0
    )  # 3 - 1 of the margin, + 1 of the frame
    boxes, scores, labels = windows(image, level, own, 0.0)
    assert boxes[scores.argmax()].tolist() == [40, 24, 72, 56]
    assert set(labels.tolist()) == {3}
    assert warped(image, torch.tensor([40.0, 24, 72, 56]), own)[0] == pytest.approx(
        own.weights.flatten().numpy(), abs=0.05
    )


def test_a_template_looks_at_heights_that_occurred() -> None:
    template = Template(0, (4, 4), (32.0, 64.0), torch.zeros(BLOCK, 5, 5), 0.0)
    assert [looks_at(template, scale) for scale in (2.0, 1.0, 0.5, 0.25)] == [False, True, True, False]
    levels = list(pyramid(torch.zeros(3, 128, 128, dtype=torch.uint8), [template]))
    assert [level.scale for level in levels] == pytest.approx([1.0, 2**-0.25, 2**-0.5, 2**-0.75, 0.5])


def test_outlines_follow_the_objects() -> None:
    boxes = torch.tensor([[0.0, 0, 40, 20], [0, 0, 40, 20], [0, 0, 20, 40], [0, 0, 20, 40]])
    page = Annotated("x", (99, 99), boxes, torch.tensor([1] * 4), torch.tensor([False] * 4))
    found = outlines(DetectionSplit([page]), 3, components=2)
    assert [(t.label, t.cells) for t in found] == [(1, (2, 5)), (1, (5, 2))]
    objects = Objects(boxes, page.labels, page.difficult)
    assert [len(own_boxes(objects, found, place)) for place in (0, 1)] == [2, 2]


def test_easy_negatives_are_forgotten() -> None:
    template = Template(0, (2, 2), (16.0, 16.0), torch.zeros(BLOCK, 1, 1), 0.0)
    up, down = np.full(BLOCK, 1, np.float32), np.full(BLOCK, -9, np.float32)
    negatives = [[-up, down]]
    (fitted,) = fit_all([template], [[up]], negatives)
    assert len(negatives[0]) == 1
    assert float(torch.from_numpy(up) @ fitted.weights.flatten()) + fitted.bias > 0


def test_rings_are_told_from_crosses(tmp_path: Path) -> None:
    train, test = scenes(tmp_path / "train", 12, 0), scenes(tmp_path / "test", 6, 1)
    done = []
    detector = train_hog_svm(train, ("ring",), rounds=1, progress=lambda *step: done.append(step))
    assert done[-1] == (24, 24)
    found = detector.evaluate(test)
    assert found.mean_ap > 0.95
    assert len(found.detections) == 6
    image, objects = test.read(0)
    hard = hard_windows(image, objects, detector.templates)
    assert len(hard[0]) <= 20
    again = train_hog_svm(scenes(tmp_path / "train", 12, 0), ("ring",), rounds=1)
    assert torch.equal(again.templates[0].weights, detector.templates[0].weights)


def test_without_objects(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    page = Annotated(str(file), (9, 9), torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).bool())
    cv2.imwrite(str(file), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ConvatlasError, match="no object is marked"):
        train_hog_svm(DetectionSplit([page]), ("a",))
