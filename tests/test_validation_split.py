"""Epochs are compared on a validation split, and the test split is seen once; where there is none, it is said."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from boxes import yolo
from convatlas import data
from convatlas.cli import main
from convatlas.data import ArraySplit, DataSet, load, read_division
from convatlas.data.validation import fold, fold_of, hold_out, reduce
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.training import DataSource, Recipe, fit, folds, tasks
from convatlas.training.asked import Asked
from convatlas.training.mechanisms import EarlyStopping
from convatlas.training.plan import prepare
from convatlas.training.position import error_of
from convatlas.training.recipe import SGD
from convatlas.training.sources import load_data
from convatlas.training.summary import read, training_seconds
from masks import write_parts
from people import write_coco
from reading import write

TINY = Recipe(
    network="caffe_lenet",
    variant="test",
    source="a test",
    epochs=4,
    batch_size=16,
    optimizer=SGD(lr=0.01),
    preprocessing=Preprocessing((28, 28), 1, mean=(0.5,), std=(0.5,)),
    keep="best",
)


def three_splits() -> DataSet:
    """Splits whose sizes tell them apart."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (60, 1, 28, 28), generator=draw, dtype=torch.uint8)
    whole = ArraySplit(images, torch.arange(60) % 3)
    train, val, test = whole.select(range(33)), whole.select(range(33, 48)), whole.select(range(48, 60))
    return DataSet("greys", train, test, ("a", "b", "c"), "made here", val=val)


@pytest.fixture
def looked_at(monkeypatch) -> list[int]:
    """The size of each split that was evaluated, in order."""
    seen, evaluated = [], tasks.classification.evaluate

    def noting(net, loader, *args, **kwargs):
        seen.append(len(loader.split))
        return evaluated(net, loader, *args, **kwargs)

    monkeypatch.setattr(tasks.classification, "evaluate", noting)
    return seen


def test_the_test_split_is_seen_once_by_the_weights_that_were_chosen(looked_at, tmp_path):
    trained = fit(TINY, three_splits(), tmp_path / "run", device="cpu")
    assert looked_at == [15, 15, 15, 15, 12]
    rows = trained.run.rows()
    assert all("val_error" in row and "test_error" not in row for row in rows)
    errors = [error_of(row) for row in rows]
    assert trained.summary.epoch == 1 + errors.index(min(errors))
    assert (trained.summary.chosen_on, len(trained.evaluation.labels)) == ("val", 12)
    written = json.loads(trained.run.summary.read_text())
    assert written["chosen_on"] == "val"
    assert "the best on the validation split; the test split was seen once" in written["selection"]


def test_without_a_validation_split_the_test_split_serves_for_both_and_it_is_said(looked_at, tmp_path):
    trained = fit(TINY, replace(three_splits(), val=None), tmp_path / "run", device="cpu")
    assert looked_at == [12] * 4
    assert "on the test split itself" in trained.summary.selection
    assert read(trained.run)["chosen_on"] == "test"
    honest = fit(replace(TINY, keep="last"), replace(three_splits(), val=None), tmp_path / "last", device="cpu")
    assert honest.summary.chosen_on is None
    assert "no epoch was chosen" in honest.summary.selection


def test_early_stopping_looks_at_the_validation_split(looked_at, tmp_path):
    recipe = replace(TINY, epochs=30, optimizer=SGD(lr=1e-9), stop=EarlyStopping(2))
    trained = fit(recipe, three_splits(), tmp_path / "run", device="cpu")
    assert trained.summary.epochs == 3
    assert looked_at == [15, 15, 15, 12]


def test_a_finished_run_gives_its_result_again_without_another_look(looked_at, tmp_path):
    first = fit(TINY, three_splits(), tmp_path / "run", device="cpu")
    again = fit(TINY, three_splits(), tmp_path / "run", device="cpu", resume=True)
    assert looked_at[5:] == [12]
    assert again.evaluation.top1_error == first.evaluation.top1_error
    assert again.summary.epoch == first.summary.epoch


def test_the_training_time_is_the_same_everywhere(tmp_path):
    trained = fit(TINY, three_splits(), tmp_path / "run", device="cpu")
    summed = sum(row["seconds"] for row in trained.run.rows())
    assert trained.seconds == pytest.approx(summed)
    assert read(trained.run)["seconds"] == pytest.approx(summed)
    assert (
        training_seconds(read(trained.run), trained.run.rows())
        == training_seconds({}, trained.run.rows())
        == pytest.approx(summed)
    )


# --- splits


def digits() -> DataSet:
    return data.load("digits")


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_a_fraction_of_each_class_is_held_out(fraction):
    before, after = digits(), hold_out(digits(), fraction, seed=3)
    assert after.val is not None
    assert len(after.train) + len(after.val) == len(before.train)
    counts = torch.bincount(before.train.labels)
    assert (torch.bincount(after.val.labels) - fraction * counts).abs().max() <= 0.5
    assert torch.equal(after.test.labels, before.test.labels)
    assert after.division is not None
    assert set(after.division.train) | set(after.division.val) == set(before.division.train)  # pyright: ignore[reportOptionalMemberAccess]
    assert not set(after.division.train) & set(after.division.val)


def test_the_seed_alone_decides():
    names = [hold_out(digits(), 0.1, seed=seed).division for seed in (3, 3, 4)]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_folds_cover_the_training_split_once_and_keep_the_classes(count):
    labels = digits().train.labels
    folds_ = fold_of(labels, count, seed=0)
    assert folds_.bincount().max() - folds_.bincount().min() <= 1
    for label in labels.unique():
        shares = folds_[labels == label].bincount(minlength=count)
        assert shares.max() - shares.min() <= 1
    parts = [fold(digits(), index, count, seed=0).division for index in range(1, count + 1)]
    held_out = [name for part in parts if part is not None for name in part.val]
    assert sorted(held_out) == sorted(digits().division.train)  # pyright: ignore[reportOptionalMemberAccess, reportArgumentType]


def test_a_fraction_to_learn_from_leaves_the_other_splits_alone():
    whole = load_data(DataSource("digits", val_fraction=0.1), "lenet5")
    few = load_data(DataSource("digits", val_fraction=0.1, fraction=0.05), "lenet5")
    assert 60 <= len(few.train) <= 70
    assert len(few.train.labels.unique()) == 10
    assert few.val is not None
    assert whole.val is not None
    assert torch.equal(few.val.labels, whole.val.labels)
    rare = replace(whole, train=ArraySplit(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 0, 1])))
    assert len(reduce(replace(rare, division=None), 0.4, seed=0).train.labels.unique()) == 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda d: hold_out(d, 0.0, seed=0), "val_fraction is 0.0"),
        (lambda d: hold_out(d, 1.0, seed=0), "val_fraction is 1.0"),
        (lambda d: fold(d, 1, 1, seed=0), "folds is 1"),
        (lambda d: fold(d, 4, 3, seed=0), "fold is 4; expected 1 to 3"),
        (lambda d: reduce(d, 1.5, seed=0), "fraction is 1.5"),
        (lambda d: hold_out(hold_out(d, 0.1, seed=0), 0.1, seed=0), "bring a validation split of their own"),
    ],
)
def test_what_is_wrong_is_named(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make(digits())


def test_a_run_writes_down_its_splits_and_evaluates_on_the_same_test_images(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["train", "caffe_lenet", "--epochs", "1", "--val-fraction", "0.1", "--fraction", "0.2", "--no-report"]
    assert main([*arguments, "--device", "cpu", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["epoch"], said["epochs"], said["chosen_on"]) == (1, 1, None)
    written = read_division(out / "splits.json")
    assert (len(written.test), len(written.val)) == (359, 143)
    assert main(["eval", str(out), "--device", "cpu", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["samples"] == 359
    assert evaluated["top1_error"] == said["test_error"]
    assert evaluated["epoch"] == 1


def test_a_stopped_run_with_a_validation_split_goes_on(tmp_path, capsys, monkeypatch):
    from convatlas.training.session import Session

    arguments = ["caffe_lenet", "--epochs", "2", "--batch-size", "400", "--val-fraction", "0.1", "--no-report"]
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert main(["train", *arguments, "--device", "cpu", "--out", str(whole)]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Session, "_end", lambda self, step, settle: None)
        patch.setattr(Session, "after_step", stop_at(5))
        with pytest.raises(Stop):
            fit_like(arguments, out)
    assert main(["train", "--resume", str(out), "--device", "cpu", "--no-report"]) == 0
    errors = [[error_of(row) for row in rows_of(folder)] for folder in (whole, out)]
    assert errors[0] == errors[1]


class Stop(BaseException):
    pass


def stop_at(step: int):
    def after_step(self, done, settle):
        if done == step:
            settle()
            self.save(done)
            raise Stop

    return after_step


def fit_like(arguments: list[str], out: Path) -> None:
    asked = Asked("caffe_lenet", epochs=2, batch_size=400, val_fraction=0.1)
    chosen, loaded = prepare(asked).load()
    fit(chosen, loaded, out, device="cpu")


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_folds_train_as_many_runs_and_give_mean_and_interval(tmp_path, capsys):
    arguments = ["train", "caffe_lenet", "--epochs", "1", "--folds", "3", "--fraction", "0.2", "--no-report"]
    assert main([*arguments, "--device", "cpu", "--out", str(tmp_path / "cv"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [entry["fold"] for entry in said["folds"]] == [1, 2, 3]
    errors = [entry["val_error"] for entry in said["folds"]]
    assert said["val_error"]["mean"] == pytest.approx(sum(errors) / 3)
    low, high = said["val_error"]["interval_95"]
    assert low <= min(errors) or high >= max(errors)
    assert json.loads((tmp_path / "cv" / "folds.json").read_text())["folds"] == said["folds"]
    held_out = [set(read_division(tmp_path / "cv" / f"fold{k}" / "splits.json").val) for k in (1, 2, 3)]
    assert sum(map(len, held_out)) == len(set.union(*held_out)) == 1438


def test_the_interval_by_hand():
    mean, (low, high) = folds.mean_interval([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2)
    assert high - mean == pytest.approx(4.30265 * 0.1 / 3**0.5, rel=1e-5)
    assert low == 0  # an error is not negative


def test_a_validation_split_that_serves_as_the_test_split_is_said(tmp_path, capsys):
    files = [f"{part}/{name}/*{count}.png" for part, count in (("train", 6), ("val", 3)) for name in "ab"]
    folder = write(tmp_path / "set", files)
    command = ["train", "caffe_lenet", "--data", str(folder), "--epochs", "1", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The data have no test split, so their validation split is tested on" in said
    sentence = "it is of the data's validation split, as they have no test split"
    assert sentence in said
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["val_serves_as_test"] is True
    assert sentence.replace("'", "&#39;") in (tmp_path / "run" / "report.html").read_text()


def test_every_task_knows_when_validation_serves_as_test(tmp_path):
    masks = write_parts(tmp_path / "masks")
    assert load(str(masks), task="segmentation").val_serves_as_test
    write_coco(tmp_path / "people", "train", 2)
    write_coco(tmp_path / "people", "val", 1)
    assert load(str(tmp_path / "people"), task="pose").val_serves_as_test
    for part in ("train", "val"):
        yolo(tmp_path / "boxes", {f"{part}{i}": "0 0.4 0.4 0.3 0.5" for i in range(2)}, part=part)
    (tmp_path / "boxes" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    loaded = load(str(tmp_path / "boxes"), task="detection")
    assert loaded.val_serves_as_test
    assert loaded.val is None
    assert not load("digits").val_serves_as_test


def test_resume_of_the_folder_of_folds_continues_all(tmp_path, capsys):
    folder, arguments = tmp_path / "cv", ["--folds", "3", "--fraction", "0.2", "--no-report", "--epochs", "1"]
    assert main(["train", "caffe_lenet", *arguments, "--device", "cpu", "--out", str(folder)]) == 0
    whole = json.loads((folder / "folds.json").read_text())
    shutil.rmtree(folder / "fold3")  # as if it had not begun
    (folder / "fold2" / "summary.json").unlink()  # as if it had stopped before its end
    (folder / "folds.json").unlink()
    first = (folder / "fold1" / "checkpoints" / "last" / "weights.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["train", "--resume", str(folder), "--no-report", "--device", "cpu", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (folder / "fold1" / "checkpoints" / "last" / "weights.safetensors").stat().st_mtime_ns == first
    for name in ("val_error", "test_error"):
        assert said[name] == whole[name]
