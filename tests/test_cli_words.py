"""What commands say beside their numbers: protocols, times, broken lines, and what contradicts itself."""

import json
import shutil
from pathlib import Path

import pytest
from rich.text import Text

from convatlas.cli import main
from convatlas.cli.tables import LONG_WORD, Column, least_width
from convatlas.readable import duration
from convatlas.records import AP_PROTOCOLS, SCORES, score_name
from convatlas.report.comparison import Estimate
from convatlas.training.summary import training_seconds


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_mean_ap_never_stands_without_its_protocol() -> None:
    assert {score_name("mean_ap", protocol) for protocol in AP_PROTOCOLS} == {
        "mAP (VOC 2007)", "mAP (VOC 2010)", "mAP (COCO)",
    }  # fmt: skip
    assert score_name("mean_ap", None) == "mAP"  # a run of an older version, which did not record it
    assert [score_name(name, "one view") for name in ("mean_iu", "pck")] == [SCORES["mean_iu"], SCORES["pck"]]


@pytest.mark.parametrize("where", ["metrics.jsonl", "summary.json"])
def test_runs_name_the_protocol_of_a_detector(
    where: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "detector"
    shutil.copytree(run_folder, run)
    row = {"epoch": 1, "seconds": 2.0, "images_per_s": 10.0, "test_error": 0.75, "mean_ap": 0.25}
    protocol = {"protocol": "coco"}
    (run / "metrics.jsonl").write_text(json.dumps(row | (protocol if where == "metrics.jsonl" else {})) + "\n")
    (run / "summary.json").write_text(json.dumps({"test_error": 0.75, "seconds": 2.5} | protocol))
    line = said(capsys, "runs", str(tmp_path / "runs")).splitlines()[1]
    assert "mAP (COCO)" in line
    assert "2.5 s" in line


def test_one_training_time_of_finished_and_of_stopped_runs() -> None:
    rows = [{"seconds": 1.5}, {"seconds": None}, {"seconds": 2.0}]
    assert training_seconds({}, rows) == 3.5
    assert training_seconds({"seconds": 4.0}, rows) == 4.0
    assert training_seconds({}, []) == 0.0
    assert [duration(seconds) for seconds in (0.42, 9.96, 48.2)] == ["0.4 s", "10.0 s", "48 s"]


def test_a_column_is_broken_between_words_unless_a_word_is_long() -> None:
    column = Column("fits", wrap=8)
    assert least_width(column, [Text("by its documentation")]) == len("documentation")
    assert least_width(column, [Text("a/" * 40)]) == LONG_WORD
    assert least_width(column, [Text("yes")]) == 8
    assert least_width(Column("name"), [Text("resnet50")]) == 0


def test_an_estimate_of_nearly_nothing_is_no_zero() -> None:
    assert str(Estimate(0.01, 0, 60)) == "this will take less than a second"
    assert str(Estimate(3.2, 1, 60)) == "this will take about 3.2 s and what testing the run takes, in all at most 60 s"
    assert (
        str(Estimate(90, 0, 2)) == "this will take 2.0 s, after which the rest is cut; all would take about 1 min 30 s"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("compare", "lenet5", "--data", "digits"), "--data is digits, but no run is compared"),
        (("count", "--example", "fire", "--examples"), "--examples stands alone"),
        (("convolve", "x.csv", "sobel_x", "--out", "x.txt"), "--out is x.txt; expected a name that ends in .csv"),
        (("show", "lenet5", "--draw", "x.txt"), "--draw is x.txt; expected a name that ends in .svg"),
        (("show", "lenet5", "--format", "xml"), "Invalid value for '--format': 'xml' is not one of"),
        (("shw",), "Did you mean 'show'? `convatlas --help` tells"),
        (("train", "caffe_lenet", "--data", "digits", "--find-lr", "--out", "x"), "expected a name that ends in .png"),
        (
            ("train", "caffe_lenet", "--data", "digits", "--epochs", "2", "--keep-epochs", "1,9"),
            "--keep-epochs names epoch 9, but the run has 2",
        ),
        (("eval", "lenet5", "--report", "x.txt"), "--report is x.txt; expected a name that ends in .html"),
        (("predict", "lenet5", "x.png", "--every", "2"), "--every 2 is for --video and --camera"),
        (("facts", "zzz"), "shows all names; topics are"),
    ],
)
def test_what_contradicts_itself_is_refused(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in said(capsys, *arguments, code=2)


def test_lineage_is_titled_by_the_network_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "lineage", "ResNet-50")
    assert "What resnet50 (2015) stands on" in text
