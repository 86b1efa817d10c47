"""The sections of segmenters and of pose networks: their rows by hand, and pages that ask for nothing."""

import math
import re

import pytest
import torch

from convatlas.evaluation import pose as poses
from convatlas.evaluation import segmentation as masks
from convatlas.evaluation.boundary import BoundaryMeter, TrimapMeter
from convatlas.report import pose, segmentation
from convatlas.visualise import overlays, palettes

CONFUSION = torch.tensor([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def test_class_rows_by_hand() -> None:
    rows = segmentation.class_rows(masks.summarise(CONFUSION, 0.1, "abc", 1.0), palettes.voc(3))
    assert (rows[1].name, rows[1].colour, rows[1].iu, rows[1].accuracy) == ("b", "#800000", 3 / 6, 3 / 4)
    assert rows[0].share == pytest.approx(8 / 12)
    assert (rows[2].iu, rows[2].accuracy, rows[2].boundary_f1) == (None, None, None)
    found = segmentation.thousandths(masks.summarise(CONFUSION, 0.1, "abc", 1.0))
    assert found.tolist() == [[750, 250, 0], [250, 750, 0], [0, 0, 0]]


def test_the_worst_images_come_first() -> None:
    good, bad, middle = torch.eye(2), torch.eye(2).flip(0), torch.ones(2, 2)
    assert segmentation.worst(torch.stack((good, bad, torch.zeros(2, 2), middle)).long(), limit=2) == [1, 3]


def one_file(page: str) -> None:
    assert not re.search(r"<(script|link|iframe)\b|url\((?!#)|@import", page)
    fetched = re.findall(r'<(?:img|image)\b[^>]*(?:src|href)="([^"]*)"', page)
    assert all(source.startswith("data:image/") for source in fetched)


def test_a_page_of_masks() -> None:
    mask = (torch.arange(200) > 100).long().expand(120, 200)
    found = (torch.arange(196) > 90).long().expand(116, 196)
    boundary, trimap, meter = BoundaryMeter(3), TrimapMeter(3), masks.ConfusionMeter(3)
    for each in (boundary, trimap, meter):
        each.add(found[None], mask[None])
    image = torch.full((3, 120, 200), 90, dtype=torch.uint8)
    example = segmentation.MaskExample("a<b>.png", image, mask, found)
    evaluation = masks.summarise(meter.confusion, 0.1, ["left", "right & more", "never"], 2.0)
    page = segmentation.page(evaluation, [example], "masks", boundary=boundary, trimap=trimap)
    one_file(page)
    assert "a&lt;b&gt;.png" in page
    assert "mostly left taken for right &amp; more" in page
    assert "left out of the means: never" in page
    assert page.count("<img ") == 3
    assert "boundary F1" in page
    assert "boundary F1" not in segmentation.sections(evaluation, [])


def test_a_page_of_poses() -> None:
    true = torch.tensor([[[10.0, 10], [50, 40]], [[20, 20], [60, 60]], [[5, 5], [9, 9]]])
    found = true + torch.tensor([[[0.0, 0], [30, 0]], [[3, 4], [1, 0]], [[0, 0], [0, 0]]])
    visible = torch.tensor([[True, True], [True, True], [False, False]])
    distances = poses.normalised_distances(found, true, visible, torch.tensor([10.0, 10, 10]))
    evaluation = poses.summarise(distances, 0.1, ["head", "<knee>"], 1.0)
    assert pose.worst(evaluation) == [0, 1]
    head, knee = pose.joint_rows(evaluation)
    assert (head.marked, head.correct, head.median) == (2, 1.0, 0.0)
    assert (knee.marked, knee.correct, knee.median) == (2, 0.5, pytest.approx(0.1))
    image = torch.full((3, 110, 120), 90, dtype=torch.uint8)
    example = pose.PoseExample("p.jpg", image, true[0], visible[0], found[0], distances[0])
    page = pose.page(evaluation, [example], "poses", limbs=((0, 1),))
    one_file(page)
    assert "<b>1 of 2</b>" in page
    assert "&lt;knee&gt;" in page
    assert page.count("<img ") == 2
    nobody = poses.summarise(torch.full((1, 2), math.nan), 0.1, "ab", 1.0)
    assert pose.joint_rows(nobody)[0] == pose.JointRow("a", 0, None, None)
    assert pose.sections(nobody, [], limbs=overlays.MPII_LIMBS).count("None to show") == 1
