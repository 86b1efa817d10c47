"""Any folder of annotated images: what `data check` calls whole is trained on, all else is named, nothing is lost."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from boxes import HEIGHT, WIDTH, coco, image, xml, yolo
from convatlas import data
from convatlas.cli.data_detection import unmarked
from convatlas.data import Loader
from convatlas.data.annotated import open_masks, open_people
from convatlas.data.detection import open_detection, parts
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.data.detection.check import check_boxes
from convatlas.data.pose.check import check_people
from convatlas.data.segmentation.check import check_masks
from convatlas.errors import ConvatlasError
from convatlas.records import VOID, Preprocessing
from people import write_coco

FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
GOOD = st.tuples(
    st.sampled_from(["cat", "dog", "[/red]", "日本", "a b"]),
    st.integers(0, WIDTH - 12), st.integers(0, HEIGHT - 12), st.integers(2, 11), st.integers(2, 11),
)  # fmt: skip
BAD = st.sampled_from(
    [
        ("cat", 5, 5, 0, 9), ("cat", 30, 5, -9, 9), ("dog", 200, 5, 5, 5), ("cat", float("nan"), 5, 5, 5),
        ("dog", 5, 5, float("inf"), 5), ("cat", -50, -50, 9, 9), ("cat", 0.1, 0.1, 0.5, 0.5),
    ]
)  # fmt: skip
OBJECTS = st.lists(st.one_of(GOOD, GOOD, GOOD, BAD), max_size=4)
STATE = st.sampled_from(["whole", "whole", "whole", "whole", "no annotation", "no image", "torn", "turned"])
FOLDER = st.lists(st.tuples(OBJECTS, STATE), min_size=1, max_size=7)


def write_image(file: Path, state: str) -> None:
    if state == "no image":
        return
    image(file, orientation=3 if state == "turned" else 1)
    if state == "torn":
        file.write_bytes(file.read_bytes()[:90])


def write_voc(root: Path, folder: list) -> None:
    for number, (objects, state) in enumerate(folder):
        write_image(root / "images" / f"{number}.png", state)
        if state != "no annotation":
            drawn = [(escaped(name), (x + 1, y + 1, x + w, y + h)) for name, x, y, w, h in objects]
            xml(root / "annots" / f"{number}.xml", drawn)


def escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace("<", "&lt;")


def write_json(root: Path, folder: list) -> None:
    names = sorted({name for objects, _ in folder for name, *_ in objects} | {"cat"})
    entries = {}
    for number, (objects, state) in enumerate(folder):
        write_image(root / "images" / f"{number}.png", state)
        if state != "no annotation":
            marks = [{"bbox": list(box), "category_id": names.index(name) + 1} for name, *box in objects]
            entries[f"{number}.png"] = marks
    categories = [{"id": place, "name": name} for place, name in enumerate(names, start=1)]
    coco(root / "annotations" / "instances_train.json", entries, categories=categories)


def write_csv(root: Path, folder: list) -> None:
    root.mkdir(exist_ok=True)
    lines = ["path,class,xmin,ymin,xmax,ymax"]
    for number, (objects, state) in enumerate(folder):
        write_image(root / f"{number}.png", state)
        if state != "no annotation":
            lines += [f"{number}.png,{name},{x},{y},{x + w},{y + h}" for name, x, y, w, h in objects]
            lines += [] if objects else [f"{number}.png,,,,,"]
    (root / "boxes.csv").write_text("\n".join(lines), encoding="utf-8")


def write_texts(root: Path, folder: list) -> None:
    names = ["cat", "dog", "[/red]", "日本", "a b"]
    root.mkdir()
    yolo(root, {}, yaml=f"train: images/train\nnames: {json.dumps(names)}\n")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "images" / "train").mkdir(parents=True)
    for number, (objects, state) in enumerate(folder):
        write_image(root / "images" / "train" / f"{number}.png", state)
        lines = [
            f"{names.index(name)} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}\n"
            for name, x, y, w, h in objects
        ]
        if state != "no annotation":
            (root / "labels" / "train" / f"{number}.txt").write_text("".join(lines))


@pytest.mark.parametrize("write", [write_voc, write_json, write_csv, write_texts])
@FEW
@given(folder=FOLDER)
def test_every_image_with_boxes_is_whole_or_named(write, folder) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        write(root, folder)
        try:
            splits, classes = parts(str(root))
            checked = check_boxes(splits, classes)
        except ConvatlasError:  # what check refuses, training refuses
            assert trained_on(root) is None
            return
        whole = {path for path in splits["train"].paths if path not in {f.path for f in checked.findings if is_out(f)}}
        for path in whole:  # an image that is used has every object that was drawn on it
            index = splits["train"].paths.index(path)
            objects, state = folder[int(Path(path).stem)]
            expected = 0 if state == "no annotation" else len(objects)
            assert len(splits["train"].objects(index).labels) == expected
        files = {str(file) for file in root.rglob("*.png")}
        told = {f.path.partition(", ")[0] for f in checked.findings} | set(splits["train"].left_out)
        assert files <= {*whole, *told, *unmarked(str(root), splits.values())}
        assert checked.images["train"] == len(whole)
        trained = trained_on(root)
        assert trained is None or trained == whole


def is_out(finding) -> bool:
    return finding.kind in ("damaged", "turned")


def trained_on(root: Path) -> set[str] | None:
    """The images that the loaders of a run keep, or None where training refuses what is left."""
    try:
        found = open_detection(str(root), test_fraction=0.5)
        for split in (found.train, found.test):
            Loader(BoxAssembly(split, Preprocessing((32, 32), resize="stretch")), batch_size=2)
    except ConvatlasError:
        return None
    return {*found.train.paths, *found.test.paths}


VALUES = st.sampled_from([(0, 1), (0, 1, 2), (0, 1, 2, 255), (0, 255), (0, 254), (0, 128, 255), (0, 1, 2, 7)])
MASKS = st.lists(
    st.tuples(
        VALUES, st.sampled_from(["whole", "whole", "whole", "no mask", "no image", "torn", "jpeg", "size", "turned"])
    ),
    min_size=1,
    max_size=7,
)


@FEW
@given(folder=MASKS, with_table=st.booleans())
def test_every_mask_is_read_as_it_was_drawn_or_named(folder, with_table) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        drawn = {number: write_mask(root, number, values, state) for number, (values, state) in enumerate(folder)}
        if with_table:
            (root / "classes.csv").write_text("value,name\n0,a\n1,b\n2,c\n255,void\n")
        try:
            opened = open_masks(str(root))
            checked = check_masks(opened.parts, opened.classes.names)
        except ConvatlasError:
            assert readable_when_trained(root) == 0
            return
        train = opened.parts["train"]
        used = [index for index in range(len(train)) if is_readable(train, index)]
        assert checked.images["train"] == len(used)
        for index in used:
            mask, values = train.read_pair(index)[1].numpy(), drawn[int(Path(train.paths[index]).stem)]
            expected = np.full_like(mask, VOID)
            for label, value in enumerate(opened.classes.values):
                expected[values == value] = label
            assert np.array_equal(mask, expected)
            assert {*np.unique(values).tolist()} <= {*opened.classes.values, *opened.classes.void}
        told = {finding.path for finding in checked.findings}
        files = {str(file) for file in (*root.rglob("*.png"), *root.rglob("*.jpg")) if file.parent.name == "images"}
        assert files <= {train.paths[index] for index in used} | told


def readable_when_trained(root: Path) -> int:
    """How many images training could use."""
    try:
        loaded = data.load(str(root), task="segmentation")
    except ConvatlasError:
        return 0
    return sum(is_readable(split, index) for split in (loaded.train, loaded.test) for index in range(len(split)))


def is_readable(split, index: int) -> bool:
    try:
        split.read_pair(index)
    except ConvatlasError:
        return False
    return True


def write_mask(root: Path, number: int, values: tuple[int, ...], state: str) -> np.ndarray:
    size = (9, 24)
    width = size[1] // len(values)
    mask = np.tile(np.array(values)[np.minimum(np.arange(size[1]) // width, len(values) - 1)], (size[0], 1))
    if state != "no image":
        image(root / "images" / f"{number}.png", size=(size[1], size[0]), orientation=2 if state == "turned" else 1)
    (root / "masks").mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(parents=True, exist_ok=True)
    file = root / "masks" / f"{number}.png"
    if state != "no mask":
        shown = mask[:, :-3] if state == "size" else mask
        Image.fromarray(shown.astype(np.uint8)).save(file, format="JPEG" if state == "jpeg" else "PNG")
    if state == "torn":
        file.write_bytes(file.read_bytes()[:50])
    return mask


PERSON = st.sampled_from(
    [{}, {}, {}, {"bbox": [1, 2]}, {"bbox": [1, 2, float("nan"), 4]}, {"image_id": 77}, {"iscrowd": 1},
     {"num_keypoints": 0}, {"keypoints": [float("inf"), 1, 2] * 17}]
)  # fmt: skip


@FEW
@given(people=st.lists(PERSON, min_size=1, max_size=6))
def test_every_person_is_used_or_counted(people) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        root.mkdir()
        file = write_coco(root, "train", len(people))
        content = json.loads(file.read_text())
        for entry, values in zip(content["annotations"], people, strict=True):
            entry.update(values)
        file.write_text(json.dumps(content))
        usable = people.count({})
        if not usable:
            with pytest.raises(ConvatlasError):
                open_people(str(root))
            return
        parts_, joints = open_people(str(root))
        checked = check_people(parts_, joints)
        assert checked.people["train"] == usable
        counted = sum(int(f.detail.split()[0]) for f in checked.findings if f.kind == "by design")
        left_out = sum(finding.kind == "left out" for finding in checked.findings)
        assert usable + counted + left_out == len(people)
