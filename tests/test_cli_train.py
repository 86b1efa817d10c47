"""`convatlas train` and `convatlas runs`: recipes from files and settings, going on, learning rates, lists."""

import json
import signal
from pathlib import Path

import pytest

from convatlas.cli import main
from convatlas.training import open_run
from convatlas.training.finder import smooth, steepest
from convatlas.training.mechanisms import Ema
from convatlas.training.recipe import read
from convatlas.training.session import Session

SMALL = ["train", "caffe_lenet", "--epochs", "2", "--batch-size", "500", "--no-report", "--device", "cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("runs")
    assert main([*SMALL, "--out", str(folder / "first"), "--set", "averaging=Ema(decay=0.5)", "--seed", "3"]) == 0
    return folder


def errors(run: Path) -> list[float]:
    return [row["test_error"] for row in open_run(run).rows()]


def test_a_setting_is_in_the_saved_recipe_and_the_recipe_repeats_the_run(runs, capsys):
    recipe = read(runs / "first" / "recipe.toml")
    assert (recipe.averaging, recipe.seed, recipe.batch_size) == (Ema(decay=0.5), 3, 500)
    again = str(runs / "again")
    assert main(["train", "--recipe", str(runs / "first" / "recipe.toml"), "--out", again, "--no-report"]) == 0
    assert errors(runs / "again") == errors(runs / "first")
    assert read(runs / "again" / "recipe.toml") == recipe


def test_a_run_that_was_asked_to_end_says_how_to_go_on_and_does(runs, capsys, monkeypatch):
    out = runs / "stopped"
    with monkeypatch.context() as patch:
        after_step = Session.after_step

        def asked(self, step, settle):
            if step == 4:
                signal.raise_signal(signal.SIGTERM)
            after_step(self, step, settle)

        patch.setattr(Session, "after_step", asked)
        options = ["--set", "averaging=Ema(decay=0.5)", "--seed", "3"]
        assert main([*SMALL, "--out", str(out), *options]) == 143
    said = capsys.readouterr().err
    assert f"stopped in epoch 2, step 1 of 3; nothing is lost: `convatlas train --resume {out}`" in said
    assert main(["train", "--resume", str(out), "--no-report"]) == 0
    assert errors(out) == errors(runs / "first")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lenet5", "--resume", "somewhere"], "goes on with a run as it began"),
        (["--resume", "nowhere"], "is no run folder"),
        ([], "NAME is missing"),
        (["lenet5", "--save-every", "often"], "expected a number of steps"),
        (["lenet5", "--lr", "0.1"], "its rates are the schedule's"),
        (["lenet5", "--set", "optimizer.lr=0.1"], "no such field; DiagonalLM has mu, patterns"),
        (["lenet5", "--find-lr"], "no place in the published recipe"),
        (["lenet5", "--recipe", "absent.toml"], "no recipe to read"),
    ],
)
def test_what_is_wrong_is_named(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_several_processes_need_a_folder_with_a_name(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "lenet5"]) == 2
    assert "--out is needed under torchrun" in capsys.readouterr().err


def test_runs_are_listed_and_compared(runs, capsys):
    assert main(["runs", str(runs), "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    first = rows["first"]
    assert (first["network"], first["data"], first["epochs"], first["state"]) == (
        "caffe_lenet", "digits", 2, "finished",
    )  # fmt: skip
    assert first["best_error"] == min(errors(runs / "first"))
    (runs / "first" / "summary.json").rename(runs / "first" / "hidden")
    assert main(["runs", str(runs)]) == 0
    assert "resumable" in capsys.readouterr().out
    (runs / "first" / "hidden").rename(runs / "first" / "summary.json")
    assert main([*SMALL, "--out", str(runs / "other"), "--lr", "0.05", "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["runs", str(runs), "--differences", "--json", "--sort", "error"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [row["run"] for row in found["runs"]]
    assert found["differences"]["optimizer.lr"][names.index("other")] == 0.05
    assert "optimizer.momentum" not in found["differences"]
    assert main(["runs", str(runs / "none")]) == 2


def test_the_curve_of_learning_rates(tmp_path, capsys):
    image = tmp_path / "curve.png"
    options = ["--set", "batch_size=64", "--find-lr", "--out", str(image), "--json"]
    assert main(["train", "caffe_lenet", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert image.read_bytes().startswith(b"\x89PNG")
    assert 1e-3 < found["suggestion"] < 3  # the recipe's own 0.01 with momentum learns; 1e-4 stands still
    assert found["rates"] == sorted(found["rates"])


def test_the_steepest_place_by_hand():
    assert steepest([4.0, 4.0, 3.9, 3.0, 2.0, 1.8, 1.7, 5.0]) == 3
    assert smooth([1.0, 1.0, 1.0]) == pytest.approx([1.0] * 3)
