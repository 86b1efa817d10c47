"""Runs, recipes, checkpoints and exported files that were damaged: a result, or a sentence that says what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convatlas import cli

SCRIPT = Path(__file__).with_name("fuzz_runs.py")
KINDS = ("recipe", "environment", "metrics", "summary", "classes", "splits", "weights", "onnx", "state")
REPORTED = ("recipe", "environment", "metrics", "summary", "classes", "splits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run of one epoch, its network as ONNX, and an image."""
    folder = tmp_path_factory.mktemp("fuzz")
    run, onnx, image = folder / "run", folder / "x.onnx", folder / "x.png"
    assert cli.main(["train", "caffe_lenet", "--data", "digits", "--epochs", "1", "--out", str(run)]) == 0
    assert cli.main(["export", str(run), "--format", "onnx", "--out", str(onnx)]) == 0
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(image)
    return run, onnx, image


def fuzzed(trained: tuple[Path, Path, Path], count: int, *kinds: str, first: int = 0) -> dict[str, Any]:
    """In a process of its own: an address space has one limit, and a crash would end the tests."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, trained), str(count), str(first), *kinds],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"the command died with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_some_damaged_files_of_each_kind(trained: tuple[Path, Path, Path]) -> None:
    for kind, (read, refused, others) in fuzzed(trained, 12, *KINDS).items():
        assert others == [], kind
        assert read + refused >= 12, kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_damaged_files(trained: tuple[Path, Path, Path], kind: str) -> None:
    count = 30 if kind in ("recipe", "state") else 200  # of which some train
    assert fuzzed(trained, count, kind, first=1000)[kind][2] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", REPORTED)
def test_reports_of_damaged_runs(trained: tuple[Path, Path, Path], kind: str) -> None:
    read, refused, others = fuzzed(trained, 12, f"report {kind}", first=100)[f"report {kind}"]
    assert others == []
    assert read + refused == 12


# ---------- made by hand


HOSTILE: dict[str, tuple[str, str | bytes]] = {
    "recipe: empty": ("recipe.toml", ""),
    "recipe: NUL": ("recipe.toml", "format = 1\n\0"),
    "recipe: not UTF-8": ("recipe.toml", b"\xff\xfe\xfa\x00"),
    "recipe: nested lists": ("recipe.toml", "a = " + "[" * 100_000),
    "recipe: nested tables": ("recipe.toml", "a = " + "{a=" * 100_000),
    "recipe: a key of 100,000 parts": ("recipe.toml", ".".join("a" * 100_000) + " = 1"),
    "recipe: a header of 100,000 parts": ("recipe.toml", "[" + ".".join("a" * 100_000) + "]"),
    "recipe: 5,000 digits": ("recipe.toml", "format = 1\nseed = " + "9" * 5000),
    "recipe: another format": ("recipe.toml", "format = 99"),
    "recipe: format is a table": ("recipe.toml", "[format]\na = 1"),
    "recipe: unknown field": ("recipe.toml", 'format = 1\n"\\u001b[31m" = 1'),
    "recipe: kind is a list": ("recipe.toml", "format = 1\n[optimizer]\nkind = [1]"),
    "recipe: a long name": ("recipe.toml", f'format = 1\nnetwork = "{"a" * 1_000_000}"'),
    "weights: empty": ("checkpoints/best/weights.safetensors", b""),
    "weights: a header of 2^63 bytes": ("checkpoints/best/weights.safetensors", b"\xff" * 7 + b"\x7f" + b"{}"),
    "weights: text": ("checkpoints/best/weights.safetensors", b"hello" * 100),
    "weights: a header alone": ("checkpoints/best/weights.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_that_cannot_be_used(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    copy = tmp_path / "runs" / "copy"
    shutil.copytree(run_folder, copy)
    file, content = HOSTILE[name]
    (copy / file).write_bytes(content.encode() if isinstance(content, str) else content)
    for arguments in (["predict", str(copy), str(tmp_path)], ["eval", str(copy)]):
        assert cli.main(arguments) in (1, 2)
        said = capsys.readouterr().err
        assert "unexpected" not in said
        assert "\x1b" not in said
        assert len(said) < 3000
    assert cli.main(["runs", str(copy.parent)]) == 0
    assert "unexpected" not in capsys.readouterr().err


RECORDS: dict[str, tuple[str, str]] = {
    "summary: a list": ("summary.json", "[]"),
    "summary: nested": ("summary.json", "[" * 100_000),
    "summary: 5,000 digits": ("summary.json", '{"seconds": ' + "9" * 5000 + "}"),
    "summary: a number of 400 digits": ("summary.json", '{"seconds": 1' + "0" * 400 + "}"),
    "summary: seconds are text": ("summary.json", '{"seconds": "x"}'),
    "summary: seconds are a list": ("summary.json", '{"seconds": [1]}'),
    "environment: nested": ("environment.json", '{"a":' * 100_000),
    "environment: started is a number": ("environment.json", '{"started": 7}'),
    "environment: surrogate": ("environment.json", '{"started": "\\ud800"'),
    "metrics: no seconds": ("metrics.jsonl", '{"epoch": 1}\n'),
    "metrics: a list": ("metrics.jsonl", "[1]\n"),
    "metrics: epoch is text": ("metrics.jsonl", '{"epoch": "1", "seconds": 1}\n'),
    "metrics: infinite": ("metrics.jsonl", '{"epoch": 1, "seconds": Infinity}\n'),
    "metrics: nested": ("metrics.jsonl", "[" * 100_000 + "\n"),
    "metrics: not UTF-8": ("metrics.jsonl", "\udcff"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_run_that_is_skipped_in_the_list(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for copy in ("good", "bad"):
        shutil.copytree(run_folder, tmp_path / "runs" / copy)
    file, content = RECORDS[name]
    (tmp_path / "runs" / "bad" / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert cli.main(["runs", str(tmp_path / "runs"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["run"] for row in json.loads(out)] == ["good"]
    assert "skipped" in err
    assert "bad" in err


@pytest.mark.parametrize("mark", ["\ufeff", "\r\n", ""])
def test_marks_of_editors_are_harmless(run_folder: Path, tmp_path: Path, mark: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    text = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_bytes((text.replace("\n", mark) if mark == "\r\n" else mark + text).encode())
    assert cli.main(["runs", str(tmp_path)]) == 0
    assert cli.main(["eval", str(copy)]) == 0
