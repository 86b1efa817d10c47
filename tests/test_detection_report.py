"""A detector's page: what it says, that it is one file, and that its images show what they should."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import UsageError
from convatlas.evaluation.detector import summarise_detections
from convatlas.evaluation.error_analysis import image_errors
from convatlas.records import DetectionEvaluation, Detections
from convatlas.report.detection import class_rows, page
from convatlas.visualise.boxes import beside, verdicts
from convatlas.visualise.overlays import INVENTED, MISSED, RIGHT

CLASSES = ("ring", "c<e>ll", "never")
BOXES = [[10.0, 10, 40, 40], [50.0, 10, 80, 40]]


def scene(root: Path) -> tuple[DetectionSplit, list[Detections]]:
    """Two images: on the first a ring is found, a cell missed and one invented; on the second all is right."""
    pages = []
    for name in "ab":
        Image.fromarray(np.full((60, 90, 3), 128, np.uint8)).save(root / f"{name}.png")
        boxes, labels = torch.tensor(BOXES), torch.tensor([0, 1])
        pages.append(Annotated(str(root / f"{name}.png"), (60, 90), boxes, labels, torch.tensor([False, False])))
    wrong = torch.tensor([BOXES[0], [10.0, 45, 30, 58]])
    found = [
        Detections(wrong, torch.tensor([0, 1]), torch.tensor([0.9, 0.85])),
        Detections(torch.tensor(BOXES), torch.tensor([0, 1]), torch.tensor([0.8, 0.8])),
    ]
    return DetectionSplit(pages), found


def evaluated(split: DetectionSplit, found: list[Detections], protocol) -> DetectionEvaluation:
    truth = [split.objects(index) for index in range(len(split))]
    return summarise_detections(found, truth, CLASSES, protocol, seconds=0.5)


@pytest.mark.parametrize("protocol", ["voc10", "coco"])
def test_the_page_says_it_and_asks_for_nothing(tmp_path: Path, protocol) -> None:
    split, found = scene(tmp_path)
    text = page(evaluated(split, found, protocol), split, "A <detector>")
    assert "A &lt;detector&gt;" in text
    assert "c&lt;e&gt;ll" in text
    assert "c<e>ll" not in text
    assert not re.search(r'(src|href)="https?:', text)
    assert "<script" not in text
    assert "left out of the mean: never" in text
    assert "1 right, 1 wrong, 1 missed" in text
    assert text.count("<li><p>") == 1  # the second image has no mistakes
    assert "250 ms" in text


def test_rows_by_hand(tmp_path: Path) -> None:
    split, found = scene(tmp_path)
    evaluation = evaluated(split, found, "voc10")
    from convatlas.evaluation.error_analysis import analyse

    analysed = analyse(found, [split.objects(0), split.objects(1)], CLASSES)
    ring, cell, never = class_rows(evaluation, analysed, [0.8, 0.8, math.inf])
    assert (ring["ap"], ring["objects"], ring["missed"], ring["precision"], ring["recall"]) == (1.0, 2, 0, 1.0, 1.0)
    assert (cell["ap"], cell["missed"], cell["precision"], cell["recall"]) == (0.25, 1, 0.5, 0.5)
    assert (never["ap"], never["objects"], never["threshold"], never["recall"]) == (None, 0, "-", None)


def test_an_evaluation_of_other_images_is_refused(tmp_path: Path) -> None:
    split, found = scene(tmp_path)
    with pytest.raises(UsageError, match="detections of 2 images; expected 1"):
        page(evaluated(split, found, "voc10"), split.select([0]), "x")


def test_right_wrong_and_missed_have_their_colours(tmp_path: Path) -> None:
    split, found = scene(tmp_path)
    image, truth = split.read(0)
    (errors,) = image_errors(found[:1], [truth], [0.5, 0.5, 0.5])
    drawn = verdicts(image, found[0], truth, errors, CLASSES, longest=90)
    assert drawn.getpixel((10, 35)) == RIGHT
    assert drawn.getpixel((79, 35)) == MISSED
    assert drawn.getpixel((29, 50)) == INVENTED
    both = beside(image, found[0], truth, CLASSES, longest=90)
    assert both.size == (90 + 8 + 90, 60)
