"""Boxes as public data sets and tools have them: read right, or named; an image is never background by mistake."""

import json
from pathlib import Path

import pytest
import torch

from boxes import BOX, HEIGHT, WIDTH, coco, image, images, kinds, read, xml, yolo
from convatlas.data.detection import open_detection, parts
from convatlas.data.detection.check import HARMFUL
from convatlas.errors import ConvatlasError, UsageError

CAT = ("cat", BOX)
LINE = f"0 {20 / WIDTH} {15 / HEIGHT} {20 / WIDTH} {20 / HEIGHT}\n"  # BOX


def harmful(spec: Path) -> set[str]:
    return {kind for kind in kinds(spec) if kind in HARMFUL}


# --- VOC ---


@pytest.mark.parametrize(
    "folder", ["annots", "xmls", "labels", "Annotations", "annotations/xmls", "ann", "My Labels (v2)", "images", "."]
)
def test_xml_lies_in_a_folder_of_any_name(folder, tmp_path):
    images(tmp_path / "images", ["a.jpg", "b.png"])
    for name in "ab":
        xml(tmp_path / folder / f"{name}.xml")
    assert read(tmp_path) == {"train": {"a": [CAT], "b": [CAT]}}
    assert kinds(tmp_path) == {}


def test_kangaroo_and_raccoon(tmp_path):
    """annots and images of the one; annotations, images and tables in data of the other."""
    images(tmp_path / "kangaroo" / "images", ["00001.jpg", "00002.jpg"])
    images(tmp_path / "raccoon" / "images", ["raccoon-1.jpg", "raccoon-2.jpg"])
    for stem in ("00001", "00002"):
        xml(tmp_path / "kangaroo" / "annots" / f"{stem}.xml", called=f"{stem}.jpg")
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for stem in ("raccoon-1", "raccoon-2"):
        xml(tmp_path / "raccoon" / "annotations" / f"{stem}.xml", called=f"{stem}.jpg")
        lines.append(f"{stem}.jpg,60,40,raccoon,10,5,30,25")
    (tmp_path / "raccoon" / "data").mkdir()
    (tmp_path / "raccoon" / "data" / "train_labels.csv").write_text("\n".join(lines))
    assert read(tmp_path / "kangaroo") == {"train": {"00001": [CAT], "00002": [CAT]}}
    assert read(tmp_path / "raccoon") == {"train": {"raccoon-1": [CAT], "raccoon-2": [CAT]}}
    table = read(tmp_path / "raccoon" / "data" / "train_labels.csv")
    assert table == {"train": {"raccoon-1": [("raccoon", BOX)], "raccoon-2": [("raccoon", BOX)]}}
    assert kinds(tmp_path / "kangaroo") == kinds(tmp_path / "raccoon") == {}


def test_splits_of_xml_by_folder_names_in_any_case(tmp_path):
    for part in ("Train", "VALID", "test_images"):
        image(tmp_path / part / "same.jpg")
        xml(tmp_path / part / "same.xml")
    found = open_detection(str(tmp_path))
    assert found.val is not None
    assert [Path(split.paths[0]).parent.name for split in (found.train, found.val, found.test)] == [
        "Train", "VALID", "test_images"]  # fmt: skip
    assert found.division is None


def test_splits_of_xml_beside_splits_of_images_with_the_same_names(tmp_path):
    for part in ("train", "val"):
        image(tmp_path / "images" / part / "0001.jpg")
        xml(tmp_path / "annotations" / part / "0001.xml")
    splits, _ = parts(str(tmp_path))
    assert {part: Path(split.paths[0]).parent.name for part, split in splits.items()} == {
        "train": "train",
        "val": "val",
    }


def test_a_list_has_names_with_spaces_suffixes_flags_and_repeats(tmp_path):
    for name in ("my cat 1", "b", "c"):
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
        xml(tmp_path / "Annotations" / f"{name}.xml")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\ufeffmy cat 1\nb.jpg\nb.jpg\nc  1\n", encoding="utf-8")
    assert read(tmp_path) == {"train": {"my cat 1": [CAT], "b": [CAT], "c": [CAT]}}
    assert kinds(tmp_path) == {}


def test_the_name_of_the_annotation_goes_before_the_filename_in_it(tmp_path):
    images(tmp_path, ["a.jpg", "b.jpg"])
    xml(tmp_path / "a.xml", called="b.jpg")
    xml(tmp_path / "b.xml", [("dog", (1, 1, 9, 9))], called="b.jpg")
    assert read(tmp_path)["train"] == {"a": [CAT], "b": [("dog", (0, 0, 9, 9))]}
    assert kinds(tmp_path) == {"two names": 1}


def test_a_filename_that_is_another_annotation_s_image_is_not_taken(tmp_path):
    images(tmp_path, ["b.jpg"])
    xml(tmp_path / "a.xml", called="b.jpg")
    xml(tmp_path / "b.xml", called="b.jpg")
    assert read(tmp_path)["train"] == {"b": [CAT]}
    assert kinds(tmp_path) == {"no image": 1}


def test_a_filename_may_be_all_there_is(tmp_path):
    images(tmp_path / "images", ["photo 7.JPG"])
    xml(tmp_path / "annotations" / "0001.xml", called="C:\\data\\photo 7.JPG")
    assert read(tmp_path)["train"] == {"photo 7": [CAT]}


@pytest.mark.parametrize(
    ("objects", "kind"),
    [
        ([("cat", (11, 6, 11, 25))], "empty"),
        ([("cat", (30, 25, 11, 6))], "reversed"),
        ([("cat", (90, 6, 99, 25))], "outside"),
        ([("cat", ("inf", 6, 30, 25))], "not a number"),
        ([("cat", (1e300, 6, 1e301, 25))], "outside"),
        ([("cat", (0.1, 0.2, 0.5, 0.9))], "units"),
        ([("", (11, 6, 30, 25))], "bad object"),
        ([("cat", ("left", 6, 30, 25))], "bad object"),
        ([("cat", (-30, -30, -10, -10))], "outside"),
    ],
)
def test_an_object_that_can_not_be_used_leaves_its_image_out(objects, kind, tmp_path):
    images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    xml(tmp_path / "a.xml", [("cat", (11, 6, 30, 25)), *objects])
    xml(tmp_path / "b.xml")
    xml(tmp_path / "c.xml")
    assert read(tmp_path)["train"] == {"b": [CAT], "c": [CAT]}
    assert kinds(tmp_path) == {kind: 1}
    trained = open_detection(str(tmp_path), test_fraction=0.5)
    assert {Path(path).stem for path in (*trained.train.paths, *trained.test.paths)} == {"b", "c"}
    assert [getattr(problem, "kind", None) for problem in trained.train.problems] == [kind]


def test_images_left_out_are_refused_where_they_are_most(tmp_path):
    for name in "abc":
        image(tmp_path / f"{name}.jpg")
        xml(tmp_path / f"{name}.xml", [("cat", (11, 6, 30, 25 if name == "c" else 6))])
    with pytest.raises(ConvatlasError, match=r"2 of 3 training images .* more than half; the first problem: .*a\.xml"):
        open_detection(str(tmp_path))


@pytest.mark.parametrize("size", [(0, 0), ("", ""), ("60.0", "40.0")])
def test_a_size_of_nothing_is_read_from_the_image(size, tmp_path):
    image(tmp_path / "a.jpg")
    xml(tmp_path / "a.xml", size=size)
    assert read(tmp_path)["train"] == {"a": [CAT]}
    assert kinds(tmp_path) == {}


@pytest.mark.parametrize("size", [("1e999", 40), ("-5", 40), (10**30, 40), ("wide", 40)])
def test_a_size_that_is_none_is_named(size, tmp_path):
    images(tmp_path, ["a.jpg", "b.jpg"])
    xml(tmp_path / "a.xml", size=size)
    xml(tmp_path / "b.xml")
    assert kinds(tmp_path) == {"bad object": 1}


def test_width_and_height_that_change_places_are_named(tmp_path):
    images(tmp_path, ["a.jpg", "b.jpg"])
    xml(tmp_path / "a.xml", size=(HEIGHT, WIDTH), objects=[("cat", (2, 2, 9, 9))])
    xml(tmp_path / "b.xml")
    assert kinds(tmp_path) == {"damaged": 1}


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("stated", ["as stored", "none", "as shown"])
def test_a_turned_image_with_boxes_is_a_finding_whatever_the_turn(orientation, stated, tmp_path):
    image(tmp_path / "a.jpg", orientation=orientation)
    image(tmp_path / "b.jpg")
    shown = (HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT)
    size = {"as stored": (WIDTH, HEIGHT), "none": (0, 0), "as shown": shown}[stated]
    xml(tmp_path / "a.xml", [("cat", (2, 2, 9, 9))], size=size)
    xml(tmp_path / "b.xml")
    is_told = orientation > 4 and stated == "as shown"
    assert kinds(tmp_path) == {"turned, as annotated" if is_told else "turned": 1}
    split = parts(str(tmp_path))[0]["train"]
    if not is_told:
        with pytest.raises(ConvatlasError, match=f"EXIF orientation is {orientation}"):
            split.read(0)


def test_a_turned_image_without_boxes_is_used(tmp_path):
    image(tmp_path / "a.jpg", orientation=3)
    image(tmp_path / "b.jpg")
    xml(tmp_path / "a.xml", [])
    xml(tmp_path / "b.xml")
    assert harmful(tmp_path) == set()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_that_grow_are_refused_in_any_encoding(encoding, tmp_path):
    entities = '<!ENTITY a "ha">' + "".join(f'<!ENTITY a{i} "{"&a;" * 10}">' for i in range(9))
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [{entities}]><annotation>&a8;</annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    image(tmp_path / "b.jpg")
    xml(tmp_path / "b.xml")
    splits, _ = parts(str(tmp_path))
    assert "entities" in splits["train"].problems[0].reason


def test_cvat_s_own_xml_gives_the_way_out(tmp_path):
    image(tmp_path / "a.jpg")
    (tmp_path / "annotations.xml").write_text('<annotations><image name="a.jpg"><box/></image></annotations>')
    with pytest.raises(ConvatlasError, match="export it from CVAT as Pascal VOC or COCO"):
        parts(str(tmp_path))


# --- COCO ---


def test_entries_for_one_file_are_merged_and_lie_in_one_split(tmp_path):
    images(tmp_path / "images", [f"{i}.png" for i in range(6)])
    file = coco(tmp_path / "annotations" / "instances_train.json", {f"{i}.png": [{}] for i in range(6)})
    content = json.loads(file.read_text())
    for i in range(6):
        content["images"].append({**content["images"][i], "id": 100 + i})
        mark = {"id": 100 + i, "image_id": 100 + i, "category_id": 2, "bbox": [30, 5, 9, 9]}
        content["annotations"] += [mark, {**mark, "id": 200 + i, "category_id": 1, "bbox": [10, 5, 20, 20]}]
    file.write_text(json.dumps(content))
    assert read(tmp_path)["train"]["3"] == [CAT, ("dog", (30, 5, 39, 14))]  # the repeated cat is taken once
    assert kinds(tmp_path) == {"two entries": 6}
    found = open_detection(str(tmp_path), test_fraction=0.5)
    assert not set(found.train.paths) & set(found.test.paths)


def test_entries_of_different_sizes_for_one_file_leave_it_out(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    file = coco(tmp_path / "x.json", {"a.png": [{}], "b.png": [{}], "./a.png": [{}]})
    content = json.loads(file.read_text())
    content["images"][2]["width"] = 120
    file.write_text(json.dumps(content))
    assert read(file)["train"] == {"b": [CAT]}
    assert kinds(file) == {"bad object": 1}


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_an_id_that_is_there_twice_is_an_error(key, tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    file = coco(tmp_path / "x.json", {"a.png": [{}], "b.png": [{}]})
    content = json.loads(file.read_text())
    content[key][1]["id"] = content[key][0]["id"]
    file.write_text(json.dumps(content))
    with pytest.raises(ConvatlasError, match=f"has 2 {key} of id"):
        parts(str(file))


def test_ids_may_be_text_in_one_place_and_numbers_in_another(tmp_path):
    image(tmp_path / "a.png")
    file = coco(tmp_path / "x.json", {"a.png": [{"image_id": "1", "category_id": "2"}]})
    assert read(file)["train"] == {"a": [("dog", BOX)]}


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ({"bbox": None}, "bad object"),
        ({"bbox": [1, 2, 3]}, "bad object"),
        ({"bbox": ["a", 2, 3, 4]}, "bad object"),
        ({"bbox": [10, 5, 0, 9]}, "empty"),
        ({"bbox": [10, 5, -3, 9]}, "reversed"),
        ({"bbox": [1e999, 5, 3, 9]}, "not a number"),
        ({"bbox": [0.1, 0.1, 0.5, 0.5]}, "units"),
        ({"category_id": 7}, "unknown class"),
        ({"category_id": 1e999}, "bad object"),
        ({"category_id": None}, "bad object"),
        ({"bbox": [70, 5, 5, 9]}, "outside"),
    ],
)
def test_an_annotation_that_can_not_be_used_leaves_its_image_out(mark, kind, tmp_path):
    images(tmp_path, ["a.png", "b.png", "c.png"])
    file = coco(tmp_path / "x.json", {"a.png": [{}, mark], "b.png": [{}], "c.png": []})
    assert read(file)["train"] == {"b": [CAT], "c": []}
    assert harmful(file) == {kind}


def test_an_annotation_of_no_image_is_named(tmp_path):
    image(tmp_path / "a.png")
    file = coco(tmp_path / "x.json", {"a.png": [{}, {"image_id": 99}]})
    assert read(file)["train"] == {"a": [CAT]}
    assert kinds(file) == {"no image": 1}


def test_a_polygon_gives_the_box_that_is_not_there(tmp_path):
    image(tmp_path / "a.png")
    file = coco(tmp_path / "x.json", {"a.png": [{"bbox": None, "segmentation": [[10, 5, 30, 5, 30, 25]]}]})
    assert read(file)["train"] == {"a": [CAT]}


def test_boxes_as_corners_are_refused(tmp_path):
    images(tmp_path, ["a.png", "b.png", "c.png"])
    boxes = ([10, 5, 55, 39], [20, 10, 50, 38], [30, 20, 50, 30])
    entries = {f"{name}.png": [{"bbox": box}] for name, box in zip("abc", boxes, strict=True)}
    with pytest.raises(ConvatlasError, match=r"all fit as x1, y1, x2, y2; write bbox as x, y, width, height"):
        parts(str(coco(tmp_path / "x.json", entries)))


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 5, 1e12, 5, 20, 25]],
        [[10, 5, float("inf"), 5, 20, 25]],
        [[10, 5, float("nan"), 5, 20, 25]],
        [[10, 5, 20]],
        [10, 5, 20, 5, 20, 25],
        [["a", 5, 20, 5, 20, 25]],
        [[10, 5, 10**400, 5, 20, 25]],
        {"size": [HEIGHT, WIDTH], "counts": [0, 10**9]},
        {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
        {"size": [10**6, 10**6], "counts": [0, 10**12]},
        {"size": [HEIGHT, WIDTH], "counts": "\x00\x01"},
        {"size": [HEIGHT, WIDTH], "counts": "ooooooooooooooooooooo"},
        {"counts": []},
        "polygon",
    ],
)
def test_a_segmentation_that_can_not_be_drawn_is_named_and_masks_leave_it_out(segmentation, tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    good = {"segmentation": [[10, 5, 30, 5, 30, 25]]}
    file = coco(tmp_path / "x.json", {"a.png": [{"segmentation": segmentation}], "b.png": [good]})
    assert kinds(file) == {"bad mask": 1}
    assert read(file)["train"] == {"a": [CAT], "b": [CAT]}
    masked, _ = parts(str(file), masks=True)
    assert [Path(path).stem for path in masked["train"].paths] == ["b"]
    assert masked["train"].objects(0).masks is not None


def test_a_base_name_is_taken_only_where_it_is_unambiguous(tmp_path):
    images(tmp_path / "images", ["cam0/1.png", "2.png"])
    one = coco(tmp_path / "annotations" / "a.json", {"cam0/1.png": [{}], "cam1/1.png": [{}], "/home/me/2.png": [{}]})
    assert read(one)["train"] == {"1": [CAT], "2": [CAT]}
    assert kinds(one) == {"no image": 1}
    image(tmp_path / "images" / "cam2" / "2.png")
    assert read(one)["train"] == {"1": [CAT]}  # two files of the name now
    image(tmp_path / "images" / "cam3" / "5.png")
    image(tmp_path / "images" / "cam4" / "5.png")
    two = coco(tmp_path / "annotations" / "b.json", {"2.png": [{}], "x/5.png": [{}]})
    assert read(two)["train"] == {"2": [CAT]}


@pytest.mark.parametrize("name", ["latest.json", "contest.json", "attestation.json", "boxes.json"])
def test_a_split_is_a_whole_word(name, tmp_path):
    images(tmp_path, [f"{i}.png" for i in range(4)])
    coco(tmp_path / name, {f"{i}.png": [{}] for i in range(4)})
    assert set(read(tmp_path)) == {"train"}
    assert open_detection(str(tmp_path)).division is not None


def test_splits_of_coco_in_files_and_folders(tmp_path):
    for part in ("train", "val", "test"):
        images(tmp_path / "a" / f"{part}2017", [f"{part}.png"])
        coco(tmp_path / "a" / "annotations" / f"instances_{part}2017.json", {f"{part}.png": [{}]})
        images(tmp_path / "b" / part, [f"{part}.png"])
        coco(tmp_path / "b" / part / "_annotations.coco.json", {f"{part}.png": [{}]})
    for folder in "ab":
        found = open_detection(str(tmp_path / folder))
        assert found.val is not None
        assert [Path(split.paths[0]).stem for split in (found.train, found.val, found.test)] == ["train", "val", "test"]


def test_two_files_for_one_split_are_refused(tmp_path):
    images(tmp_path, ["a.png"])
    for name in ("train.json", "more.json"):
        coco(tmp_path / name, {"a.png": [{}]})
    with pytest.raises(UsageError, match="are both the train part"):
        parts(str(tmp_path))


def test_one_file_in_two_splits_is_a_leak_and_training_leaves_it_out(tmp_path):
    images(tmp_path / "images", ["a.png", "b.png", "c.png"])
    coco(tmp_path / "annotations" / "train.json", {"a.png": [{}], "b.png": [{}]})
    coco(tmp_path / "annotations" / "test.json", {"b.png": [{}], "c.png": [{}]})
    found = open_detection(str(tmp_path))
    assert [Path(path).stem for path in found.train.paths] == ["a"]
    assert [Path(problem.path).stem for problem in found.train.problems] == ["b"]
    assert kinds(tmp_path) == {"leak": 1}


def test_splits_that_are_the_same_are_refused(tmp_path):
    yolo(tmp_path, {"a": LINE, "b": LINE}, yaml="train: images/train\nval: images/train\nnames: [cat]\n")
    with pytest.raises(ConvatlasError, match=r"every training image .* is in the test split too"):
        open_detection(str(tmp_path))


def test_a_detector_s_results_are_not_annotations(tmp_path):
    (tmp_path / "results.json").write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}]')
    with pytest.raises(ConvatlasError, match="looks like a detector's results"):
        parts(str(tmp_path / "results.json"))


def test_crowds_are_difficult(tmp_path):
    image(tmp_path / "a.png")
    file = coco(tmp_path / "x.json", {"a.png": [{}, {"iscrowd": 1, "bbox": [0, 0, 60, 40]}]})
    assert parts(str(file))[0]["train"].objects(0).difficult.tolist() == [False, True]


def test_a_byte_order_mark_is_no_text(tmp_path):
    image(tmp_path / "a.png")
    file = coco(tmp_path / "x.json", {"a.png": [{}]})
    file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert read(file)["train"] == {"a": [CAT]}


# --- YOLO ---


@pytest.mark.parametrize(
    "line",
    [
        f"0 {10 / 60} {5 / 40} {30 / 60} {5 / 40} {30 / 60} {25 / 40} {10 / 60} {25 / 40}",
        f"0 {10 / 60} {5 / 40} {30 / 60} {15 / 40} {20 / 60} {25 / 40}",
        f"0.0 {20 / 60} {15 / 40} {20 / 60} {20 / 40}",
        f"0\t{20 / 60}\t{15 / 40}\t{20 / 60}\t{20 / 40}",
    ],
)
def test_lines_of_polygons_and_boxes_give_the_box(line, tmp_path):
    yolo(tmp_path, {"a": line, "b": ""})
    assert read(tmp_path)["train"] == {"a": [CAT], "b": []}
    assert kinds(tmp_path) == {"nothing marked": 1}


@pytest.mark.parametrize(
    ("line", "kind", "reason"),
    [
        ("0 0.5 0.5 0.2 0.2 0.93", "bad object", "a saved prediction with its confidence"),
        ("0 0.5 0.5 0.2", "bad object", "4 numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.9", "bad object", "8 numbers"),
        ("cat 0.5 0.5 0.2 0.2", "bad object", "expected a class number"),
        ("-1 0.5 0.5 0.2 0.2", "bad object", "its class is -1"),
        ("0.5 0.5 0.5 0.2 0.2", "bad object", "its class is 0.5"),
        ("nan 0.5 0.5 0.2 0.2", "bad object", "its class is nan"),
        ("2 0.5 0.5 0.2 0.2", "unknown class", "number 2"),
        ("0 320 240 100 50", "units", "looks like pixels"),
        ("0 0.5 0.5 0 0.2", "empty", "empty"),
        ("0 0.5 0.5 -0.2 0.2", "reversed", "reversed"),
        ("0 nan 0.5 0.2 0.2", "not a number", "not a number"),
    ],
)
def test_a_line_that_is_no_box_leaves_its_image_out(line, kind, reason, tmp_path):
    yolo(tmp_path, {"a": LINE + line, "b": LINE, "c": LINE})
    splits, _ = parts(str(tmp_path))
    assert [Path(path).stem for path in splits["train"].paths] == ["b", "c"]
    assert kinds(tmp_path) == {kind: 1}
    assert reason in splits["train"].problems[0].reason


def test_the_keypoints_of_a_pose_file_are_no_polygon(tmp_path):
    points = " ".join(["0.9 0.9"] * 17)
    yaml = "train: images/train\nkpt_shape: [17, 2]\nnames: [cat]\n"
    yolo(tmp_path, {"a": f"{LINE.strip()} {points}"}, yaml=yaml)
    assert read(tmp_path)["train"] == {"a": [CAT]}


def test_a_text_without_an_image_is_named(tmp_path):
    yolo(tmp_path, {"a": LINE})
    (tmp_path / "labels" / "train" / "gone.txt").write_text(LINE)
    (tmp_path / "labels" / "train" / "classes.txt").write_text("cat\ndog\n")
    assert kinds(tmp_path) == {"no image": 1}


def test_numbers_beyond_names_that_are_numbers_are_not_names(tmp_path):
    yolo(
        tmp_path,
        {"a": LINE, "b": LINE, "c": LINE.replace("0", "5", 1)},
        yaml="train: images/train\nnames: ['5', '6']\n",
    )
    assert read(tmp_path)["train"] == {"a": [("5", BOX)], "b": [("5", BOX)]}


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [cat]\n", "lacks `names` or `train`"),
        ("train: images/train\nnames: {0: cat, 2: dog}\n", "numbers are 0, 2"),
        ("train: images/train\nnames: [cat, cat]\n", "two classes of the name 'cat'"),
        ("train: images/train\nnames: [[cat]]\n", "neither a list of names"),
        ("train: nowhere\nnames: [cat]\n", "neither a folder nor a list"),
        ("train: [unclosed\n", "is not YAML"),
    ],
)
def test_a_data_yaml_that_is_no_good_is_named(yaml, message, tmp_path):
    yolo(tmp_path, {"a": LINE}, yaml=yaml)
    with pytest.raises(ConvatlasError, match=message):
        parts(str(tmp_path))


def test_roboflow_s_folders_and_its_paths_one_folder_too_high(tmp_path):
    for part, stem in (("train", "a"), ("valid", "b"), ("test", "c")):
        image(tmp_path / part / "images" / f"{stem}.jpg")
        (tmp_path / part / "labels").mkdir()
        (tmp_path / part / "labels" / f"{stem}.txt").write_text(LINE)
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['cat']\n"
    )
    expected = {"train": {"a": [CAT]}, "val": {"b": [CAT]}, "test": {"c": [CAT]}}
    assert read(tmp_path) == expected
    (tmp_path / "data.yaml").unlink()
    assert {part: list(pages) for part, pages in read(tmp_path).items()} == {
        "train": ["a"],
        "val": ["b"],
        "test": ["c"],
    }


def test_texts_beside_images_without_a_list_of_classes(tmp_path):
    images(tmp_path, ["a.jpg", "b.jpg"])
    (tmp_path / "a.txt").write_text(LINE)
    (tmp_path / "b.TXT").write_text(LINE.replace("0", "3", 1))
    assert read(tmp_path)["train"] == {"a": [("0", BOX)], "b": [("3", BOX)]}


# --- tables ---

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


@pytest.mark.parametrize(
    "lines",
    [
        [HEADER, "a.png,60,40,cat,10,5,30,25"],
        [HEADER.replace(",", ";"), "a.png;60;40;cat;10,0;5,0;30,0;25,0"],
        [HEADER.replace(",", "\t"), "a.png\t60\t40\tcat\t10\t5\t30\t25"],
        ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId", "a.png;60;40;10;5;30;25;cat"],
        ["image_id,class_name,x_min,y_min,x_max,y_max", "a,cat,10,5,30,25"],
        ["ImageID,LabelName,XMin,XMax,YMin,YMax", f"a,cat,{10 / 60},{30 / 60},{5 / 40},{25 / 40}"],
        ["image,label,x1,y1,x2,y2", f"a.png,cat,{10 / 60},{5 / 40},{30 / 60},{25 / 40}"],
        ["image,label,x_center,y_center,width,height", f"a.png,cat,{20 / 60},{15 / 40},{20 / 60},{20 / 40}"],
        ["a.png,10,5,30,25,cat"],
        ["/content/drive/a.png,10,5,30,25,cat"],
        ["\ufeffpath,x1,y1,x2,y2,class", "a.png,10,5,30,25,cat"],
    ],
)
def test_tables_of_every_kind(lines, tmp_path):
    image(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")
    assert read(tmp_path / "boxes.csv")["train"] == {"a": [CAT]}
    assert read(tmp_path) == read(tmp_path / "boxes.csv")
    assert kinds(tmp_path) == {}


def test_wheat_has_boxes_in_a_column_and_no_classes(tmp_path):
    images(tmp_path / "train", ["b6ab77fd7.jpg"])
    lines = ["image_id,width,height,bbox,source", 'b6ab77fd7,60,40,"[10.0, 5.0, 20.0, 20.0]",usask_1']
    (tmp_path / "train.csv").write_text("\n".join(lines))
    assert read(tmp_path) == {"train": {"b6ab77fd7": [("object", BOX)]}}
    assert kinds(tmp_path) == {"assumed": 2}


def test_excel_writes_utf_16(tmp_path):
    image(tmp_path / "a.png")
    text = f"{HEADER}\na.png,60,40,cat,10,5,30,25".replace(",", "\t")
    (tmp_path / "boxes.tsv").write_bytes(text.encode("utf-16"))
    assert read(tmp_path / "boxes.tsv")["train"] == {"a": [CAT]}


def test_a_box_of_fractions_among_pixels_leaves_its_image_out(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "boxes.csv").write_text(f"{HEADER}\na.png,60,40,cat,10,5,30,25\nb.png,60,40,cat,0.1,0.2,0.5,0.9\n")
    assert read(tmp_path)["train"] == {"a": [CAT]}
    assert kinds(tmp_path) == {"units": 1}


def test_tables_by_split(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    for part, name in (("train", "a"), ("test", "b")):
        (tmp_path / f"{part}_labels.csv").write_text(f"{HEADER}\n{name}.png,60,40,cat,10,5,30,25\n")
    (tmp_path / "classes.csv").write_text("cat,0\n")
    assert {part: list(pages) for part, pages in read(tmp_path).items()} == {"train": ["a"], "test": ["b"]}
    (tmp_path / "all_labels.csv").write_text(f"{HEADER}\na.png,60,40,cat,10,5,30,25\n")
    with pytest.raises(UsageError, match="both the train part"):
        parts(str(tmp_path))


def test_isgroupof_is_difficult(tmp_path):
    image(tmp_path / "a.png")
    (tmp_path / "x.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,cat,0.1,0.5,0.1,0.5,1\n")
    assert parts(str(tmp_path))[0]["train"].objects(0).difficult.tolist() == [True]


# --- labelling tools ---


def test_labelme_and_createml(tmp_path):
    image(tmp_path / "labelme" / "a.png")
    shapes = [
        {"label": "cat", "points": [[30, 25], [10, 5]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[1, 1], [9, 1], [5, 8]], "shape_type": "polygon"},
    ]
    document = {"shapes": shapes, "imagePath": "..\\somewhere\\a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    (tmp_path / "labelme" / "a.json").write_text(json.dumps(document))
    assert read(tmp_path / "labelme")["train"] == {"a": [CAT, ("dog", (1, 1, 9, 8))]}
    image(tmp_path / "createml" / "a.png")
    place = {"x": 20, "y": 15, "width": 20, "height": 20}
    listed = [{"image": "a.png", "annotations": [{"label": "cat", "coordinates": place}]}]
    (tmp_path / "createml" / "_annotations.createml.json").write_text(json.dumps(listed))
    assert read(tmp_path / "createml")["train"] == {"a": [CAT]}


def test_a_circle_of_labelme_leaves_its_image_out(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    circle = {"label": "cat", "points": [[10, 10], [15, 10]], "shape_type": "circle"}
    good = {"label": "cat", "points": [[10, 5], [30, 25]], "shape_type": "rectangle"}
    for name, shape in (("a", circle), ("b", good)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"shapes": [shape], "imagePath": f"{name}.png"}))
    assert read(tmp_path)["train"] == {"b": [CAT]}
    assert kinds(tmp_path) == {"bad object": 1}


# --- splits ---


def test_a_test_split_alone_is_evaluated_and_not_trained_on(tmp_path):
    images(tmp_path / "test", ["a.jpg"])
    xml(tmp_path / "test" / "a.xml")
    found = open_detection(str(tmp_path), test=str(tmp_path))
    assert (len(found.train), len(found.test)) == (0, 1)
    with pytest.raises(ConvatlasError, match="has the parts test; expected one for training"):
        open_detection(str(tmp_path))


def test_boxes_are_within_the_image_whatever_was_drawn(tmp_path):
    image(tmp_path / "a.png")
    xml(tmp_path / "a.xml", [("cat", (-20, -20, 90, 90))])
    (page,) = parts(str(tmp_path))[0]["train"].pages
    assert torch.equal(page.boxes, torch.tensor([[0.0, 0.0, WIDTH, HEIGHT]]))
    assert kinds(tmp_path) == {"sticks out": 1}
