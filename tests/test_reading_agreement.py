"""What `data check` says training does is what training does: files that never end, names, joints without a count."""

import json
import os
import re
from pathlib import Path

import pytest

import boxes
import masks
import people
import reading
from convatlas.cli import main
from convatlas.cli.features import draw
from convatlas.cli.matrices import read_matrix
from convatlas.data import find_refusal, open_source
from convatlas.data.check import check
from convatlas.data.detection import parts
from convatlas.data.detection.check import check_boxes
from convatlas.data.pose.annotations import read_people_parts
from convatlas.errors import ConvatlasError
from convatlas.report.html import save

QUICK = ["--epochs", "1", "--batch-size", "2", "--device", "cpu", "--workers", "0", "--no-report"]


@pytest.mark.parametrize("kind", ["device", "pipe", "absent"])
def test_what_is_no_file_is_skipped_by_training_as_check_says(kind: str, tmp_path: Path, capsys) -> None:
    names = [f"{label}{i}.png" for label in "ab" for i in range(6)]
    reading.write(tmp_path, names)
    odd = {"device": "/dev/zero", "pipe": str(tmp_path / "pipe.png"), "absent": "none.png"}[kind]
    if kind == "pipe":
        os.mkfifo(odd)
    listed = tmp_path / "list.csv"
    rows = [f"{name},{name[0]},{'test' if name[1] in '45' else 'train'}" for name in names]
    listed.write_text("\n".join(["path,label,split", *rows, f"{odd},a,train"]))
    assert main(["data", "check", str(listed)]) == 1
    assert "training skips it" in capsys.readouterr().out
    recipe = ["train", "lenet5", "--recipe", "modern", "--data", str(listed), "--out", str(tmp_path / "run")]
    assert main([*recipe, *QUICK]) == 0
    assert f"skipped {odd if kind != 'absent' else tmp_path / odd}" in capsys.readouterr().err


def test_classes_that_differ_by_capitals_alone_are_named(tmp_path: Path) -> None:
    reading.write(tmp_path / "folders", [f"{name}/*4.png" for name in ("Cat", "cat", "dog")])
    source = open_source(str(tmp_path / "folders"))
    checked = check(source.splits(), source.class_names, refusal=find_refusal(source, "folders"))
    assert [(f.kind, f.path, f.detail) for f in checked.findings] == [("similar names", "cat", "and 'Cat'")]
    assert not checked.harmful
    for number, name in enumerate(("traffic light", "Traffic-Light", "dog")):
        boxes.image(tmp_path / "voc" / f"{number}.png")
        boxes.xml(tmp_path / "voc" / f"{number}.xml", [(name, boxes.BOX)])
    splits, classes = parts(str(tmp_path / "voc"))
    assert "similar names" in {finding.kind for finding in check_boxes(splits, classes).findings}


def test_joints_without_their_count_are_counted(tmp_path: Path) -> None:
    file = people.write_coco(tmp_path, "train", 3)
    document = json.loads(file.read_text())
    for entry in document["annotations"]:
        del entry["num_keypoints"]
    file.write_text(json.dumps(document))
    splits, _ = read_people_parts(tmp_path)
    assert len(splits["train"].people) == 3


def test_nobody_with_joints_is_said_so(tmp_path: Path) -> None:
    file = people.write_coco(tmp_path, "train", 2)
    document = json.loads(file.read_text())
    for entry in document["annotations"]:
        entry["num_keypoints"] = 0
    file.write_text(json.dumps(document))
    with pytest.raises(ConvatlasError, match="has no person with a joint: 2 people without a joint"):
        read_people_parts(tmp_path)


def test_commands_read_images_within_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading.write(tmp_path, ["a.png"])
    draw(tmp_path / "sheet.png", tmp_path / "a.png", [{"path": str(tmp_path / "a.png"), "cosine": 1.0}])
    assert (tmp_path / "sheet.png").stat().st_size > 0
    monkeypatch.setenv("CONVATLAS_MAX_PIXELS", "100")
    for act in (
        lambda: read_matrix(str(tmp_path / "a.png")),
        lambda: draw(tmp_path / "s.png", tmp_path / "a.png", []),
    ):
        with pytest.raises(ConvatlasError, match=r"a\.png: 24 x 20 pixels are more than the limit of 100"):
            act()


def test_what_training_refuses_check_names_whatever_is_marked(tmp_path: Path, capsys) -> None:
    """A folder for testing alone can be looked at and evaluated, and training on it is refused."""
    boxes.yolo(tmp_path / "boxes", {"a": "0 0.4 0.4 0.3 0.5"}, part="test", yaml="test: images/test\nnames: [cat]\n")
    masks.write_pairs(tmp_path / "masks" / "test" / "images", tmp_path / "masks" / "test" / "masks", range(3))
    networks = {"detection": ("boxes", "ssd300"), "segmentation": ("masks", "unet")}
    for task, (folder, network) in networks.items():
        data = str(tmp_path / folder)
        assert main(["data", "check", data, "--task", task]) == 1, task
        said = " ".join(capsys.readouterr().out.split())
        assert "refused (1): training refuses the data with this sentence" in said
        assert main(["train", network, "--data", data, "--out", str(tmp_path / "run"), *QUICK]) == 1, task
        sentence = " ".join(capsys.readouterr().err.split()).removeprefix("convatlas: error: ")
        assert sentence in said


@pytest.mark.parametrize("name", ["data.yaml", "classes.txt", "labels/train/a.txt"])
@pytest.mark.parametrize("kind", ["device", "pipe", "nowhere"])
def test_annotations_that_are_no_files_are_named_and_no_background(name: str, kind: str, tmp_path: Path) -> None:
    root = boxes.yolo(tmp_path, {"a": "0 0.4 0.4 0.3 0.5", "b": "0 0.4 0.4 0.3 0.5"})
    if name != "data.yaml":
        (root / "data.yaml").unlink()
    (root / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(root / name)
    else:
        (root / name).symlink_to("/dev/zero" if kind == "device" else "nowhere")
    if name.startswith("labels"):
        splits, _ = parts(str(root))
        assert [Path(path).name for path in splits["train"].left_out] == ["a.png"]
        assert re.search("not a regular file|can't be read", splits["train"].problems[0].reason)
    else:
        with pytest.raises(ConvatlasError, match=f"{name} (is not a regular file|can't be read)"):
            parts(str(root))


def test_a_list_of_relative_and_absolute_paths_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    reading.write(tmp_path, [f"{label}{i}.png" for label in "ab" for i in range(4)])
    rows = [f"{name}{i}.png,{name}" for name in "ab" for i in range(4)]
    (tmp_path / "x.csv").write_text("\n".join([*rows, "/dev/zero,a", f"{'x' * 5000},b"]))
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "x.csv"]) == 1
    assert "training skips it" in capsys.readouterr().out
    assert main(["train", "caffe_lenet", "--data", "x.csv", "--out", "run", *QUICK]) == 0
    assert max(map(len, capsys.readouterr().err.splitlines())) < 3000


def test_control_characters_of_names_are_written_out_in_pages(tmp_path: Path) -> None:
    page = save(tmp_path / "x.html", "<p>a\x1b[31mb \u202e c\n</p>")
    assert page.read_text() == "<p>a\\x1b[31mb \\u202e c\n</p>"
