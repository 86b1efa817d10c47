"""The project's small misread inputs, through `data check` and `train`: both say the same."""

import json
from pathlib import Path

import pytest

from convatlas.cli import main

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
SEGMENTER = ["fcn8s_squeezenet", "--set", "preprocessing.size=(33,49)"]
DETECTOR = ["ssd300_squeezenet"]
pytestmark = [pytest.mark.data, pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases: {CASES} is absent")]


@pytest.mark.parametrize(
    ("case", "task", "code", "kinds"),
    [
        ("masks_jpeg", "segmentation", 1, None),
        ("masks_stray_value", "segmentation", 1, {"damaged"}),
        ("masks_bom", "segmentation", 0, set()),
        ("masks_palette_against_table", "segmentation", 0, set()),
        ("coco_entry_per_box", "detection", 0, {"two entries"}),
        ("coco_same_base_name", "detection", 1, {"no image"}),
        ("yolo_polygons", "detection", 0, set()),
        ("voc_turned_by_exif", "detection", 1, {"turned"}),
    ],
)
def test_check(case, task, code, kinds, capsys):
    assert main(["data", "check", str(CASES / case), "--task", task, "--json"]) == code
    told = capsys.readouterr()
    if kinds is None:
        assert "JPEG file, whose values are not exact" in told.err
    else:
        assert {finding["kind"] for finding in json.loads(told.out)["findings"]} == kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "code", "sentence"),
    [
        ("masks_jpeg", 1, "not exact"),
        ("masks_stray_value", 0, "value 254 is none of the 2 classes"),
        ("masks_bom", 0, ""),
        ("masks_palette_against_table", 0, ""),
        ("coco_entry_per_box", 0, ""),
        ("coco_same_base_name", 0, "cam1/0001.png' is not there"),
        ("yolo_polygons", 0, ""),
        ("voc_turned_by_exif", 1, "EXIF orientation"),
    ],
)
def test_train(case, code, sentence, tmp_path, capsys):
    network = SEGMENTER if case.startswith("masks") else DETECTOR
    quick = ["--recipe", "modern", "--epochs", "1", "--batch-size", "2", "--device", "cpu", "--workers", "0"]
    command = ["train", *network, "--data", str(CASES / case), "--out", str(tmp_path / "run"), *quick]
    assert main(command) == code
    told = capsys.readouterr()
    assert sentence in told.out + told.err


def test_colours_decide_by_the_numbers_of_the_case(capsys):
    main(["data", "check", str(CASES / "masks_palette_against_table"), "--task", "segmentation", "--json"])
    pixels = json.loads(capsys.readouterr().out)["pixels"]["train"]
    assert [round(100 * count / sum(pixels), 2) for count in pixels] == [79.17, 19.53, 1.30]
