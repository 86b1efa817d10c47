"""Runs beside one another, filters of `list`, layers of `rf`, the home folder and the shell's completion."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convatlas.cli import main
from convatlas.cli.arguments import expand_home, parse_finite
from convatlas.errors import UsageError


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


@pytest.fixture
def runs(run_folder: Path, tmp_path: Path) -> Path:
    """A classifier, a segmenter of mean IoU 0.2845 (its metrics say so), one that is damaged, one with NaN."""
    folder = tmp_path / "runs"
    for name in ("classifier", "segmenter", "damaged", "unknown"):
        shutil.copytree(run_folder, folder / name)
    row = {"epoch": 1, "seconds": 2.0, "images_per_s": 10.0, "test_error": 0.7155, "mean_iu": 0.2845}
    (folder / "segmenter" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "segmenter" / "summary.json").write_text(json.dumps({"test_error": 0.7155, "seconds": 132.0}))
    (folder / "unknown" / "metrics.jsonl").write_text(json.dumps(row | {"mean_iu": float("nan")}) + "\n")
    (folder / "damaged" / "metrics.jsonl").write_text('{"epoch": 1, "seco\n')
    return folder


def test_runs_name_their_measure_and_one_damaged_run_hides_no_other(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(runs)]) == 0
    captured = capsys.readouterr()
    lines = {line.split()[0]: line.split() for line in captured.out.splitlines()[1:]}
    assert set(lines) == {"classifier", "segmenter", "unknown"}
    assert lines["classifier"][5:8] == ["error", "40.00%", "40.00%"]
    assert lines["segmenter"][5:] == ["mean", "IoU", "28.45%", "28.45%", "2.2", "min", "finished"]
    assert lines["unknown"][7:9] == ["-", "-"]
    assert "nan" not in captured.out
    assert f"skipped {runs / 'damaged'}: " in captured.err
    assert "metrics.jsonl, line 1 is not JSON" in captured.err
    rows = json.loads(said(capsys, "runs", str(runs), "--json"))
    assert {row["run"]: row["measure"] for row in rows}["segmenter"] == "mean_iu"


def test_list_is_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(said(capsys, "list", "--year", "2014-2015", "--size", "1M-30M", "--weights", "--json"))
    assert rows
    for row in rows:
        assert 2014 <= row["year"] <= 2015
        assert 10**6 <= row["parameters"] <= 3 * 10**7
        assert row["published_weights"]
    assert [row["name"] for row in json.loads(said(capsys, "list", "VGG-1?", "--json"))] == []
    assert {row["name"] for row in json.loads(said(capsys, "list", "vgg1?", "--json"))} == {
        "vgg_a", "vgg_b", "vgg_d", "vgg_e",
    }  # fmt: skip
    assert {row["task"] for row in json.loads(said(capsys, "list", "R-CNN", "--json"))} == {"detection"}


def test_rf_without_a_layer_lists_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "rf", "alexnet").splitlines()
    assert lines[0].split() == ["layer", "operation", "output", "field"]
    assert lines[1].split()[-3:] == ["11", "/", "4"]
    layers = json.loads(said(capsys, "rf", "alexnet", "--json"))["layers"]
    assert [layer["layer"] for layer in layers] == [line.split()[0] for line in lines[1:-1]]


def test_a_tilde_is_the_home_folder_wherever_a_value_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    given = ["~", "~/x", "--out=~/run", "--set", "data.root=~/d", "a~b", "~nobody-here/x", "--", "~/y"]
    assert expand_home(given) == [
        "/home/ada", "/home/ada/x", "--out=/home/ada/run", "--set", "data.root=/home/ada/d", "a~b", "~nobody-here/x",
        "--", "/home/ada/y",
    ]  # fmt: skip


def test_runs_below_home_are_found(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(runs.parent))
    assert "classifier" in said(capsys, "runs", "~/runs")


def test_numbers_within_a_text_are_finite() -> None:
    assert parse_finite("0.5", "--x", minimum=0) == 0.5
    for text in ("nan", "inf", "-1", "x", ""):
        with pytest.raises(UsageError, match=r"--x is .*expected a number, at least 0"):
            parse_finite(text, "--x", minimum=0)


def test_completion_knows_commands_and_networks_without_torch() -> None:
    code = (
        "import sys; from convatlas.cli import main; code = main([]); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    for line, expected in (("convatlas ver", "verify"), ("convatlas show resnet34_", "resnet34_a")):
        environment = {"_CONVATLAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
        assert result.stdout.split() == [expected]
