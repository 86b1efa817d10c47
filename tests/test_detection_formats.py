"""What is written of detections: read again it is the same, by our readers and by COCO's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data.detection import parts
from convatlas.data.detection.formats import Answer, as_coco, as_csv, as_json, as_voc, from_json
from convatlas.errors import ConvatlasError
from convatlas.records import Detections

CLASSES = ("ring", "cell")
BOXES = [[10.0, 5.25, 30.5, 25.0], [0.0, 0.0, 60.0, 40.0]]


def answers(root: Path) -> list[Answer]:
    """Two images: two objects on the first, none on the second."""
    for name in "ab":
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(root / f"{name}.png")
    found = Detections(torch.tensor(BOXES), torch.tensor([1, 0]), torch.tensor([0.875, 0.5]))
    none = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    return [Answer(str(root / "a.png"), (40, 60), found), Answer(str(root / "b.png"), (40, 60), none)]


def opened(path: Path) -> list[tuple[str, dict[str, list[float]]]]:
    split, classes = parts(str(path))
    pages = sorted(split["train"].pages, key=lambda page: page.path)
    return [
        (
            Path(page.path).name,
            {classes[label]: box for label, box in zip(page.labels.tolist(), page.boxes.tolist(), strict=True)},
        )
        for page in pages
    ]


EXPECTED = [("a.png", {"cell": BOXES[0], "ring": BOXES[1]}), ("b.png", {})]


def test_json_is_read_back(tmp_path: Path) -> None:
    written = answers(tmp_path)
    again, classes = from_json(as_json(written, CLASSES))
    assert classes == CLASSES
    for one, other in zip(again, written, strict=True):
        assert (one.path, one.size) == (other.path, other.size)
        assert torch.equal(one.detections.boxes, other.detections.boxes)
        assert one.detections.labels.tolist() == other.detections.labels.tolist()
        assert one.detections.scores.tolist() == other.detections.scores.tolist()
    with pytest.raises(ConvatlasError, match="not detections"):
        from_json("{}")


def test_csv_opens_as_data(tmp_path: Path) -> None:
    (tmp_path / "found.csv").write_text(as_csv(answers(tmp_path), CLASSES))
    assert opened(tmp_path / "found.csv") == EXPECTED


def test_voc_opens_as_data(tmp_path: Path) -> None:
    for answer in answers(tmp_path):
        Path(answer.path).with_suffix(".xml").write_text(as_voc(answer, CLASSES))
    assert opened(tmp_path) == EXPECTED
    text = (tmp_path / "a.xml").read_text()
    assert "<xmin>11</xmin>" in text  # counted from 1
    assert "<xmax>30.5</xmax>" in text
    assert "<score>0.875</score>" in text


def test_coco_opens_as_data_and_its_annotations_are_results(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    written = answers(tmp_path)
    (tmp_path / "found.json").write_text(as_coco(written, CLASSES))
    assert opened(tmp_path / "found.json") == EXPECTED
    content = json.loads(as_coco(written, CLASSES, image_ids={a.path: 70 + place for place, a in enumerate(written)}))
    assert [image["id"] for image in content["images"]] == [70, 71]
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    results = truth.loadRes(content["annotations"])  # pyright: ignore
    assert [one["score"] for one in results.dataset["annotations"]] == [0.875, 0.5]


def test_masks_travel_through_coco(tmp_path: Path) -> None:
    first = answers(tmp_path)[0]
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, 6:20, 11:30], masks[1, 0, 0], masks[1, 39, 59] = True, True, True
    found = first.detections
    whole = Answer(first.path, first.size, Detections(found.boxes, found.labels, found.scores, masks))
    (tmp_path / "found.json").write_text(as_coco([whole], CLASSES))
    _, objects = parts(str(tmp_path / "found.json"), masks=True)[0]["train"].read(0)
    assert objects.masks is not None
    assert torch.equal(objects.masks, masks)
