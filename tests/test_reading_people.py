"""People as COCO and MPII have them: read right, or named one by one."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from convatlas import data
from convatlas.cli import main
from convatlas.data.annotated import open_people
from convatlas.data.pose.annotations import read_people, read_people_parts
from convatlas.data.pose.check import HARMFUL, check_people
from convatlas.errors import ConvatlasError
from people import write_coco
from test_pose_data import image as pose_image
from test_pose_data import mpii_entry, rects, release, somebody


def change(file: Path, number: int, **values) -> None:
    """Other values for one annotation; None takes a key out."""
    content = json.loads(file.read_text())
    entry = content["annotations"][number] | values
    content["annotations"][number] = {key: value for key, value in entry.items() if value is not None}
    file.write_text(json.dumps(content))


def kinds(folder: Path) -> dict[str, int]:
    parts, joints = open_people(str(folder))
    found: dict[str, int] = {}
    for finding in check_people(parts, joints).findings:
        found[finding.kind] = found.get(finding.kind, 0) + 1
    return found


@pytest.mark.parametrize(
    "values",
    [
        {"bbox": None}, {"bbox": [1, 2, 3]}, {"bbox": [float("nan"), 2, 3, 4]}, {"bbox": [1, 2, 1e999, 4]},
        {"bbox": [1e300, 2, 3, 4]}, {"keypoints": ["a", 1, 2] * 17}, {"keypoints": [float("inf"), 1, 2] * 17},
        {"keypoints": [1, 1, 0] * 17}, {"image_id": 99}, {"bbox": [10**400, 2, 3, 4]},
    ],
)  # fmt: skip
def test_a_person_who_can_not_be_used_is_named_and_the_others_stay(values, tmp_path):
    change(write_coco(tmp_path, "train", 4), 1, **values)
    train, _, _ = read_people(tmp_path)
    assert [Path(path).name for path in train.paths] == ["train000.png", "train002.png", "train003.png"]
    assert "annotation 1" in train.problems[0].path
    assert kinds(tmp_path)["left out"] == 1
    assert "left out" in HARMFUL


@pytest.mark.parametrize("key", ["images", "annotations"])
def test_an_id_that_is_there_twice_is_an_error(key, tmp_path):
    file = write_coco(tmp_path, "train", 3)
    content = json.loads(file.read_text())
    content[key][1]["id"] = content[key][0]["id"]
    file.write_text(json.dumps(content))
    with pytest.raises(ConvatlasError, match="is there twice among its"):
        read_people(tmp_path)


def test_crowds_and_people_without_joints_are_counted(tmp_path):
    file = write_coco(tmp_path, "train", 4)
    change(file, 0, iscrowd=1)
    change(file, 1, num_keypoints=0)
    parts, _ = open_people(str(tmp_path))
    assert (len(parts["train"]), parts["train"].problems) == (2, [])
    assert sorted(note.reason for note in parts["train"].notes) == [
        "1 crowds, who are left out", "1 people without a joint, who are left out"]  # fmt: skip
    assert kinds(tmp_path)["by design"] == 2


def test_splits_with_the_same_names_take_their_own_images(tmp_path):
    for part in ("train", "val", "test"):
        file = write_coco(tmp_path, part, 2, seed=len(part))
        for number, image in enumerate(sorted((tmp_path / f"{part}2017").iterdir())):
            image.rename(image.with_name(f"{number}.png"))
        content = json.loads(file.read_text())
        for number, image in enumerate(content["images"]):
            image["file_name"] = f"{number}.png"
        file.write_text(json.dumps(content))
    parts, _ = read_people_parts(tmp_path)
    assert {part: {Path(path).parent.name for path in split.paths} for part, split in parts.items()} == {
        "train": {"train2017"}, "val": {"val2017"}, "test": {"test2017"}}  # fmt: skip
    loaded = data.load(str(tmp_path), task="pose")
    assert loaded.val is not None
    assert [Path((split.paths or ())[0]).parent.name for split in (loaded.train, loaded.val, loaded.test)] == [
        "train2017", "val2017", "test2017"]  # fmt: skip


def test_the_same_name_in_two_folders_is_not_guessed(tmp_path):
    file = write_coco(tmp_path, "train", 2)
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = "cam1/a.png"
    content["images"][1]["file_name"] = "cam2/a.png"
    file.write_text(json.dumps(content))
    (tmp_path / "train2017" / "cam2").mkdir()
    (tmp_path / "train2017" / "train001.png").rename(tmp_path / "train2017" / "cam2" / "a.png")
    train, _, _ = read_people(tmp_path)
    assert [Path(path).parent.name for path in train.paths] == ["cam2"]
    assert [problem.path for problem in train.problems] == ["cam1/a.png"]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_images_are_named(orientation, tmp_path):
    write_coco(tmp_path, "train", 3, size=(120, 96))
    file = tmp_path / "train2017" / "train000.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(file) as opened:
        opened.load()
        opened.save(file, exif=exif)
    train, _, _ = read_people(tmp_path)
    with pytest.raises(ConvatlasError, match=f"EXIF turns it, orientation {orientation}"):
        train.read_pair(0)
    assert kinds(tmp_path)["damaged"] == 1
    loaded = data.load(str(tmp_path), task="pose", test_fraction=0.4)
    assert sum(map(len, (loaded.train, loaded.test))) == 3


def test_an_image_of_another_size_than_annotated_is_named(tmp_path):
    write_coco(tmp_path, "train", 3)
    pose_image(tmp_path / "train2017" / "train001.png", (60, 48))
    with pytest.raises(ConvatlasError, match="60 x 48 pixels, where its annotation says 120 x 96"):
        read_people(tmp_path)[0].read_pair(1)


@pytest.mark.parametrize(
    "values",
    [
        {"joints": [[1, 2]] * 15}, {"joints": [[1, 2, 3]] * 16}, {"joints": [["a", 2]] * 16},
        {"joints": [[1, 1e999]] * 16},
        {"joints_vis": [1] * 3}, {"joints_vis": [0] * 16}, {"scale": 0}, {"scale": -1}, {"scale": float("nan")},
        {"center": [1]}, {"center": None}, {"image": "gone.jpg"},
    ],
)  # fmt: skip
def test_mpii_s_json_loses_only_who_can_not_be_used(values, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        pose_image(tmp_path / "images" / name)
    (tmp_path / "annot").mkdir()
    people = [mpii_entry("a.jpg"), mpii_entry("b.jpg") | values]
    (tmp_path / "annot" / "train.json").write_text(json.dumps(people))
    train, _, _ = read_people(tmp_path)
    assert [Path(path).name for path in train.paths] == ["a.jpg"]
    assert len(train.problems) == 1


def test_mpii_s_release_loses_only_who_can_not_be_used(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        pose_image(tmp_path / "images" / name)
    wrong = somebody(16)
    wrong["annopoints"]["point"][0, 0] = (21.0, 31.0, 99, 1)  # a joint that nobody has
    rows = (("a.jpg", 1, rects(somebody(), wrong)), ("b.jpg", 1, rects({**somebody(), "scale": -1.0})))
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", release(*rows))
    train, _, _ = read_people(tmp_path)
    assert (len(train), len(train.problems)) == (1, 2)
    assert "joint 99; expected 0 to 15" in train.problems[0].reason


def test_a_small_matlab_file_that_unfolds_to_more_than_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", "100000")
    file = tmp_path / "mpii_human_pose_v1_u12_1.mat"
    savemat(file, {"RELEASE": np.zeros(1 << 20)}, do_compression=True)
    with pytest.raises(ConvatlasError, match=r"unfolds to .*set CONVATLAS_MAX_UNPACKED_BYTES"):
        read_people(tmp_path)


def test_two_files_for_one_split_are_refused(tmp_path):
    file = write_coco(tmp_path, "train", 2)
    file.with_name("person_keypoints_train_copy.json").write_text(file.read_text())
    with pytest.raises(ConvatlasError, match="both the train part"):
        read_people(tmp_path)


def test_the_command_names_what_is_wrong_and_ends_with_1(tmp_path, capsys):
    file = write_coco(tmp_path, "train", 4)
    assert main(["data", "check", str(tmp_path), "--task", "pose"]) == 0
    assert "4 people" in capsys.readouterr().out
    change(file, 2, bbox=[1, 2])
    assert main(["data", "check", str(tmp_path), "--task", "pose", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["people"], found["harmful"]) == ({"train": 3}, 1)
    assert "annotation 2" in next(one["path"] for one in found["findings"] if one["kind"] == "left out")
