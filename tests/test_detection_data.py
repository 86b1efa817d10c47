"""Marked images in every format: the same boxes whatever wrote them, and what is wrong with one is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data.detection import DetectionSplit, open_detection, parts
from convatlas.data.detection.split import rasterise
from convatlas.errors import ConvatlasError, UsageError

WIDTH, HEIGHT = 60, 40
BOX = (10, 5, 30, 25)  # edges


def image(file: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(file)


def xml(file: Path, objects: list[tuple[str, tuple[float, ...], int]], size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Boxes as VOC writes them: from 1, the last pixel inside."""
    drawn = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for name, b, hard in objects
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"<annotation><filename>{file.stem}.png</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"</size>{drawn}</annotation>"
    )


def voc(root: Path, names: str = "abcd") -> Path:
    """Four images: a and b for training, c to select on, d to test on."""
    for name in names:
        image(root / "JPEGImages" / f"{name}.png")
        xml(root / "Annotations" / f"{name}.xml", [("cell", (11, 6, 30, 25), 0), ("ring", (1, 1, 60, 40), 1)])
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for part, members in (("train", "ab"), ("val", "c"), ("trainval", "abc"), ("test", "d")):
        (lists / f"{part}.txt").write_text("".join(f"{name}\n" for name in members))
    return root


def coco(root: Path) -> Path:
    image(root / "images" / "a.png")
    file = root / "annotations" / "instances_train.json"
    file.parent.mkdir()
    marks = [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [10, 5, 20, 20], "iscrowd": 0,
         "segmentation": [[10, 5, 20, 5, 20, 25, 10, 25]]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}},
    ]  # fmt: skip
    images = [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}]
    categories = [{"id": 5, "name": "cell"}, {"id": 3, "name": "ring"}]
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": marks}))
    return root


def yolo(root: Path) -> Path:
    image(root / "images" / "train" / "a.png")
    text = root / "labels" / "train" / "a.txt"
    text.parent.mkdir(parents=True)
    text.write_text(f"0 {20 / WIDTH} {15 / HEIGHT} {20 / WIDTH} {20 / HEIGHT}\n1 0.5 0.5 1 1\n")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nnames:\n  0: cell\n  1: ring\n")
    return root


def table(root: Path) -> Path:
    image(root / "a.png")
    lines = [
        "filename,width,height,class,xmin,ymin,xmax,ymax",
        "a.png,60,40,cell,10,5,30,25",
        "a.png,60,40,ring,0,0,60,40",
    ]
    (root / "boxes.csv").write_text("\n".join(lines))
    return root / "boxes.csv"


@pytest.mark.parametrize("make", [voc, coco, yolo, table])
def test_every_format_gives_the_same_boxes(tmp_path: Path, make) -> None:
    found, classes = parts(str(make(tmp_path)))
    image, objects = found["train"].read(0)
    assert image.shape == (3, HEIGHT, WIDTH)
    by_class = {classes[label]: box for label, box in zip(objects.labels.tolist(), objects.boxes.tolist(), strict=True)}
    assert by_class == {"cell": pytest.approx(BOX, abs=1e-4), "ring": pytest.approx((0, 0, WIDTH, HEIGHT), abs=1e-4)}
    assert found["train"].problems == []


def test_voc_lists_are_the_parts(tmp_path: Path) -> None:
    root = str(voc(tmp_path))
    found, classes = parts(root)
    assert {part: [Path(path).stem for path in split.paths] for part, split in found.items()} == {
        "train": ["a", "b"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d"]}  # fmt: skip
    assert classes == ("cell", "ring")
    assert found["train"].objects(0).difficult.tolist() == [False, True]
    whole = open_detection(root)
    assert whole.val is not None
    splits = (whole.train, whole.val, whole.test)
    assert [[Path(path).stem for path in split.paths] for split in splits] == [["a", "b"], ["c"], ["d"]]
    published = open_detection(root, select_on="test")
    assert ([Path(path).stem for path in published.train.paths], published.val) == (["a", "b", "c"], None)
    selecting = open_detection(root, select_on="val")
    assert ([Path(p).stem for p in selecting.train.paths], len(selecting.test)) == (["a", "b"], 1)
    assert whole.division is None


def test_a_test_list_without_annotations_is_no_test_part(tmp_path: Path) -> None:
    root = voc(tmp_path)
    (root / "Annotations" / "d.xml").unlink()
    found = open_detection(str(root))
    assert [Path(path).stem for path in found.test.paths] == ["c"]
    assert [Path(path).stem for path in found.train.paths] == ["a", "b"]
    assert parts(str(root))[0]["test"].problems[0].kind == "no annotation"


def test_an_object_that_marks_nothing_leaves_its_image_out(tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.png")
    wrong = [
        ("cell", (11, 6, 30, 25), 0), ("cell", (30, 6, 30, 25), 0), ("cell", (30, 25, 11, 6), 0),
        ("cell", (61, 6, 70, 25), 0), ("cell", ("nan", 6, 30, 25), 0), ("cell", (50, 6, 70, 25), 0),
    ]  # fmt: skip
    xml(tmp_path / "a.xml", wrong)
    xml(tmp_path / "b.xml", [wrong[0], wrong[-1]])
    xml(tmp_path / "gone.xml", [("cell", (11, 6, 30, 25), 0)])
    (tmp_path / "torn.xml").write_text("<annotation><object>")
    found, _ = parts(str(tmp_path))
    split = found["train"]
    assert [problem.kind for problem in split.problems] == [
        "no image", "damaged", "empty", "reversed", "outside", "not a number"]  # fmt: skip
    assert [Path(path).stem for path in split.paths] == ["b"]
    assert len(split.left_out) == 1
    assert split.objects(0).boxes.tolist() == [[10, 5, 30, 25], [49, 5, 60, 25]]  # the last was cut
    assert len(split.pages[0].clipped) == 1


def test_one_pixel_outside_is_a_way_of_counting(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    xml(tmp_path / "a.xml", [("cell", (0, 0, 60, 40), 0)])  # counted from 0
    split = parts(str(tmp_path))[0]["train"]
    assert split.objects(0).boxes.tolist() == [[0, 0, 60, 40]]
    assert split.pages[0].clipped == ()


def test_unknown_classes_are_named(tmp_path: Path) -> None:
    root = voc(tmp_path)
    found, classes = parts(str(root), classes=("ring",))
    assert classes == ("ring",)
    assert {problem.kind for problem in found["train"].problems} == {"unknown class"}
    assert (len(found["train"]), len(found["train"].left_out)) == (0, 2)
    (root / "classes.txt").write_text("ring\ncell\n")
    assert parts(str(root))[1] == ("ring", "cell")


def test_yolo_numbers_beyond_the_names_and_bad_lines(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "labels" / "train" / "a.txt").write_text("2 0.5 0.5 0.1 0.1\n0 0.5 0.5\n0 0.5 0.5 0.1 0.1\n")
    image(root / "images" / "train" / "b.png")
    split = parts(str(root))[0]["train"]
    assert [problem.kind for problem in split.problems] == ["bad object", "unknown class"]
    assert [Path(page.path).stem for page in split.pages] == ["b"]  # which has no text, so nothing is on it


def test_coco_crowds_are_difficult_and_masks_are_drawn(tmp_path: Path) -> None:
    found, classes = parts(str(coco(tmp_path)), masks=True)
    _, objects = found["train"].read(0)
    assert classes == ("ring", "cell")  # by their ids
    assert objects.difficult.tolist() == [False, True]
    assert objects.masks is not None
    assert objects.masks.sum((1, 2)).tolist() == [200, WIDTH * HEIGHT]
    assert objects.masks[0, 5:25, 10:20].all()


def test_a_segmentation_of_another_size_is_refused() -> None:
    with pytest.raises(ConvatlasError, match="expected"):
        rasterise({"size": [3, 3], "counts": [0, 9]}, (4, 4))


def test_csv_with_parts_empty_images_and_faults(tmp_path: Path) -> None:
    for name in "abcd":
        image(tmp_path / f"{name}.png")
    rows = ["path,x1,y1,x2,y2,class,split", "a.png,1,1,9,9,x,train", "b.png,,,,,,train", "c.png,1,1,9,9,x,test",
            "gone.png,1,1,9,9,x,train", "d.png,1,one,9,9,x,train"]  # fmt: skip
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    found = open_detection(str(tmp_path / "boxes.csv"))
    assert [len(page.labels) for page in found.train.pages] == [1, 0]
    assert len(found.test) == 1
    assert [problem.kind for problem in found.train.problems] == ["no image", "bad object"]
    (tmp_path / "boxes.csv").write_text("path,class\na.png,x\n")
    with pytest.raises(ConvatlasError, match="no column for x1"):
        parts(str(tmp_path / "boxes.csv"))


def test_a_image_of_another_size_than_its_annotation_is_damaged(tmp_path: Path) -> None:
    image(tmp_path / "a.png", (40, 60))
    xml(tmp_path / "a.xml", [("cell", (11, 6, 30, 25), 0)])
    split = parts(str(tmp_path))[0]["train"]
    with pytest.raises(ConvatlasError, match="40 x 60 pixels, where its annotation says 60 x 40"):
        split.read(0)


def test_division_is_written_down_and_used_again(tmp_path: Path) -> None:
    for name in "abcdefghij":
        image(tmp_path / f"{name}.png")
        xml(tmp_path / f"{name}.xml", [("ring" if name in "ab" else "cell", (11, 6, 30, 25), 0)])
    found = open_detection(str(tmp_path), test_fraction=0.3, seed=3)
    assert found.division is not None
    assert len(found.test) == 3
    assert 1 in found.test.labels.tolist()  # the rare class is in both parts
    assert 1 in found.train.labels.tolist()
    assert open_detection(str(tmp_path), division=found.division).test.paths == found.test.paths
    assert open_detection(str(tmp_path), test_fraction=0.3, seed=4).test.paths != found.test.paths


def test_the_label_of_a_image_is_its_rarest_class() -> None:
    from convatlas.data.detection.annotations import Annotated

    def page(*labels: int) -> Annotated:
        own = torch.tensor(labels, dtype=torch.int64)
        return Annotated("x", (9, 9), torch.zeros(len(own), 4), own, torch.zeros(len(own), dtype=torch.bool))

    assert DetectionSplit([page(0, 0, 1), page(0), page(), page(2, 1)]).labels.tolist() == [1, 0, -1, 2]


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        parts(str(tmp_path / "gone"))
    with pytest.raises(UsageError, match="known format"):
        parts(str(tmp_path))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConvatlasError, match="COCO's form"):
        parts(str(tmp_path / "x.json"))
    hostile = tmp_path / "loose"
    hostile.mkdir()
    (hostile / "a.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')
    with pytest.raises(ConvatlasError, match="defines entities"):
        parts(str(hostile))


@pytest.mark.data
def test_bccd_opens_with_its_own_lists(data_root: Path) -> None:
    found, classes = parts(str(data_root / "bccd"))
    assert classes == ("Platelets", "RBC", "WBC")
    assert {part: len(split) for part, split in found.items()} == {"train": 204, "val": 86, "trainval": 290, "test": 72}
    problems = {Path(p.path).stem: p.kind for p in found["trainval"].problems}
    assert problems == {"BloodImage_00338": "empty", "BloodImage_00343": "empty"}


@pytest.mark.data
@pytest.mark.parametrize("name", ["coco_format_v1", "coco_format_v2", "yolo_format", "openimages_format"])
def test_formats_of_the_same_images_agree(data_root: Path, name: str) -> None:
    """Programs that wrote them differ by the pixel from which they count."""
    folder = data_root / "voc100" / "gts"
    truth, names = parts(str(folder / "pascalvoc_format"))
    found, classes = parts(str(folder / name))

    def sorted_boxes(split: DetectionSplit, index: int, known: tuple[str, ...]) -> list[tuple]:
        objects = split.objects(index)
        rows = zip(objects.labels.tolist(), objects.boxes.round().tolist(), strict=True)
        return sorted((known[label], *box) for label, box in rows)

    places = {Path(path).name: place for place, path in enumerate(found["train"].paths)}
    for place, path in enumerate(truth["train"].paths):
        expected = sorted_boxes(truth["train"], place, names)
        got = sorted_boxes(found["train"], places[Path(path).name], classes)
        assert [row[0] for row in got] == [row[0] for row in expected]
        assert np.abs(np.array([r[1:] for r in got]) - np.array([r[1:] for r in expected])).max() <= 1
