"""What the preflight says of boxes, and its contact sheet."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from convatlas.cli import app
from convatlas.data.detection import parts
from convatlas.data.detection.annotations import Annotated
from convatlas.data.detection.check import HARMFUL, MEANING, check_boxes
from convatlas.data.detection.drawing import BoxSheet, colour_of, draw_boxes
from convatlas.data.detection.split import DetectionSplit
from convatlas.errors import ConvatlasError
from convatlas.records import Detections, Objects

GREY = 128


def boxes_csv(root: Path) -> Path:
    """Two parts with every fault that a table can have."""
    g = np.random.default_rng(0)
    for name in ("a", "b", "c", "d", "e"):
        Image.fromarray(g.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(root / f"{name}.png")
    (root / "same.png").write_bytes((root / "a.png").read_bytes())
    (root / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "stray.png")
    rows = [
        "path,x1,y1,x2,y2,class,split",
        "a.png,10,10,30,20,x,train", "e.png,10,10,30,10,x,train", "e.png,30,10,10,20,x,train",
        "e.png,70,10,90,20,x,train", "e.png,1,1,9,9,x,train", "b.png,50,10,70,20,y,train", "b.png,1,1,11,31,y,train",
        "b.png,1,1,11,31,y,train", "c.png,,,,,,train", "gone.png,1,1,9,9,x,train", "torn.png,1,1,9,9,x,train",
        "same.png,10,10,30,20,x,test", "d.png,0,0,60,40,x,test",
    ]  # fmt: skip
    (root / "boxes.csv").write_text("\n".join(rows))
    return root / "boxes.csv"


def test_everything_wrong_is_named_and_the_rest_is_counted(tmp_path: Path) -> None:
    found, classes = parts(str(boxes_csv(tmp_path)))
    checked = check_boxes(found, classes)
    assert [finding.kind for finding in checked.findings] == [
        "damaged", "no image", "empty", "reversed", "outside", "leak", "sticks out", "marked twice", "nothing marked",
    ]  # fmt: skip
    assert checked.harmful == 6
    assert checked.images == {"train": 3, "test": 2}
    assert checked.counts == {"train": (1, 3), "test": (2, 0)}
    assert checked.sizes[0].width == (20, 20, 60)
    assert checked.sizes[1].height == (10, 30, 30)
    assert checked.sizes[0].share == pytest.approx((200 / 2400, 200 / 2400, 1), rel=1e-3)
    assert checked.objects_a_image == (0, 1, 3)
    assert (checked.short_side, checked.long_side) == ((40, 40, 40), (60, 60, 60))
    assert set(HARMFUL) <= set(MEANING)


def test_trainval_is_not_read_again() -> None:
    with pytest.raises(ConvatlasError, match="none of 0 images"):
        check_boxes(dict.fromkeys(("train", "val", "trainval"), DetectionSplit([])), ("x",))
    page = Annotated("/nowhere.png", (9, 9), torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).bool())
    with pytest.raises(ConvatlasError, match=r"none of 2 images.*nowhere"):
        check_boxes(dict.fromkeys(("train", "val", "trainval"), DetectionSplit([page])), ("x",))


def test_the_command_says_it_and_ends_with_1(tmp_path: Path) -> None:
    path, sheet = boxes_csv(tmp_path), tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["data", "check", str(path), "--task", "detection", "--sheet", str(sheet)])
    assert result.exit_code == 1
    assert "marked twice" in result.output
    assert "5 images" in result.output
    with Image.open(sheet) as drawn:
        assert drawn.width > 400
    written = CliRunner().invoke(app, ["data", "check", str(path), "--task", "detection", "--json"])
    values = json.loads(written.output)
    assert values["harmful"] == 6
    assert values["sizes"]["x"]["width"] == [20, 20, 60]
    assert {finding["kind"] for finding in values["findings"]} >= {"empty", "leak"}


def test_a_whole_folder_ends_with_0_and_names_images_without_annotation(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in "abcdef":
        Image.fromarray(draw.integers(0, 256, (20, 20, 3), np.uint8)).save(tmp_path / f"{name}.png")
    drawn = "<name>x</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    for name in "acdef":
        (tmp_path / f"{name}.xml").write_text(f"<annotation><object>{drawn}</object></annotation>")
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path), "--task", "detection", "--json"])
    assert result.exit_code == 0
    assert [Path(file).name for file in json.loads(result.output)["unmarked_files"]] == ["b.png"]


def test_boxes_are_drawn_where_they_are() -> None:
    image = torch.full((3, 100, 200), GREY, dtype=torch.uint8)
    marked = Objects(torch.tensor([[20.0, 30.0, 60.0, 80.0]]), torch.tensor([1]), torch.tensor([False]))
    drawn = np.asarray(draw_boxes(image, marked, ("x", "y"), longest=400, named=False))
    assert drawn.shape == (200, 400, 3)
    ink = (drawn != GREY).any(2)
    rows, columns = np.nonzero(ink)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (40, 60, 119, 159)
    assert not ink[80:140, 60:100].any()  # nothing within
    assert tuple(drawn[100, 40]) == colour_of(1)


def test_the_most_certain_detection_lies_on_top() -> None:
    image = torch.full((1, 50, 50), GREY, dtype=torch.uint8)
    same = torch.tensor([[5.0, 5.0, 45.0, 45.0]] * 2)
    drawn = draw_boxes(image, Detections(same, torch.tensor([0, 1]), torch.tensor([0.9, 0.8])), ("x", "y"), longest=50,
                       named=False)  # fmt: skip
    assert drawn.getpixel((5, 25)) == colour_of(0)


def test_a_sheet_has_room_for_damaged_images_and_long_legends() -> None:
    page = Annotated("a.png", (9, 9), torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).bool())
    sheet = BoxSheet.of({"train": DetectionSplit([page] * 50)}, [f"class {k}" for k in range(40)])
    assert len(sheet.chosen) == 24
    assert sheet.draw().size == (968, 6 * 240 + 8 + 4 * 20 + 8)  # 40 names take four lines
