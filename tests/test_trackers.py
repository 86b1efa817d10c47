"""Experiment trackers: what a run tells to TensorBoard, MLflow in a local folder, and Weights & Biases offline."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convatlas.data import ArraySplit, DataSet
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Preprocessing
from convatlas.training import Recipe, fit, trackers
from convatlas.training.recipe import SGD
from convatlas.training.run import RunFolder
from convatlas.training.session import Session

TINY = Recipe(
    network="caffe_lenet",
    variant="test",
    source="a test",
    epochs=3,
    batch_size=10,
    optimizer=SGD(lr=0.01),
    preprocessing=Preprocessing((28, 28), 1, mean=(0.5,), std=(0.5,)),
)


def greys() -> DataSet:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (30, 1, 28, 28), generator=draw, dtype=torch.uint8)
    split = ArraySplit(images, torch.arange(30) % 3)
    return DataSet("greys", split, split.select(range(12)), ("a", "b", "c"), "made here")


class Notebook:
    """A tracker that remembers what it was told."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.steps: list[int] = []
        self.results: list[Mapping[str, float] | None] = []

    def start(self, run: RunFolder, settings: Mapping[str, Any]) -> bool:
        self.settings = dict(settings)
        return True

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)

    def finish(self, results: Mapping[str, float] | None) -> None:
        self.results.append(results)


@pytest.fixture
def notebook(monkeypatch) -> Notebook:
    made = Notebook()
    monkeypatch.setitem(trackers.TRACKERS, "notebook", lambda: made)
    return made


def test_a_tracker_is_told_of_the_settings_each_epoch_and_the_end(notebook, tmp_path):
    trained = fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("notebook",))
    assert notebook.settings["optimizer.lr"] == 0.01
    assert notebook.steps == [3, 6, 9]
    assert [dict(result or {})["final_test_error"] for result in notebook.results] == [trained.evaluation.top1_error]


def test_a_run_that_stops_is_not_finished_and_one_that_goes_on_is_told_whole(notebook, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        after_step = Session.after_step

        def fails(self, step, settle):
            after_step(self, step, settle)
            if step == 5:
                raise ZeroDivisionError

        patch.setattr(Session, "after_step", fails)
        with pytest.raises(ZeroDivisionError):
            fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("notebook",))
    assert (notebook.steps, notebook.results) == ([3], [None])
    notebook.steps.clear()
    fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("notebook",), resume=True)
    assert notebook.steps == [3, 6, 9]


def test_numbers_that_are_none_are_left_out(notebook):
    every = trackers.Trackers({"notebook": notebook})
    row = {"step": 4, "train_loss": 1.0, "test_error": float("nan"), "mean_ap": None, "learning_rate": 0.1, "epoch": 1}
    notebook.log = lambda step, values: notebook.results.append(values)  # pyright: ignore[reportAttributeAccessIssue]
    every.log(row)
    assert notebook.results == [{"train_loss": 1.0, "learning_rate": 0.1}]


def test_an_unknown_tracker_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="tracker is 'abacus'; expected one of tensorboard, mlflow, wandb"):
        fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("abacus",))
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="wandb is not installed; do `pip install wandb`"):
        fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("wandb",))
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_ends_no_run(notebook, tmp_path, monkeypatch):
    notes = []

    def fails(step, values):
        raise RuntimeError("the server is gone")

    monkeypatch.setitem(trackers.PACKAGES, "notebook", "notebook")
    monkeypatch.setattr(trackers, "find_spec", lambda name: True)
    monkeypatch.setattr(notebook, "log", fails)
    trained = fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("notebook",), on_note=notes.append)
    assert trained.summary.epochs == 3
    assert notes == ["the tracker notebook fails and is told no more: the server is gone"]
    monkeypatch.setattr(notebook, "start", fails)
    with pytest.raises(ConvatlasError, match="notebook can't be started"):
        fit(TINY, greys(), tmp_path / "other", device="cpu", trackers=("notebook",))
    assert not (tmp_path / "other").exists()


def test_mlflow_without_a_server_writes_a_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    # the real one would be remembered by the process
    monkeypatch.setattr(mlflow, "set_tracking_uri", lambda uri: monkeypatch.setenv("MLFLOW_TRACKING_URI", uri))
    fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("mlflow",))
    assert list((tmp_path / "mlruns").rglob("train_loss"))


def test_tensorboard_has_its_events(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    fit(TINY, greys(), out, device="cpu")
    fit(replace(TINY), greys(), out, device="cpu", resume=True)  # drawn anew, not twice
    events = EventAccumulator(str(out)).Reload()
    assert [event.step for event in events.Scalars("test_error")] == [3, 6, 9]


def test_mlflow_in_a_local_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "ml"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    trained = fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("mlflow",))
    client = mlflow.MlflowClient(str(tmp_path / "ml"))
    (found,) = client.search_runs([client.get_experiment_by_name("Default").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.lr"] == "0.01"
    assert found.data.metrics["final_test_error"] == pytest.approx(trained.evaluation.top1_error)
    assert [metric.step for metric in client.get_metric_history(found.info.run_id, "train_loss")] == [3, 6, 9]


def test_a_run_goes_on_in_the_same_run_of_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "ml"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    out = tmp_path / "run"
    fit(TINY, greys(), out, device="cpu", trackers=("mlflow",))
    fit(TINY, greys(), out, device="cpu", resume=True)
    client = mlflow.MlflowClient(str(tmp_path / "ml"))
    assert len(client.search_runs([client.get_experiment_by_name("Default").experiment_id])) == 1


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit(TINY, greys(), tmp_path / "run", device="cpu", trackers=("wandb",))
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert list(Path(folder).glob("run-*.wandb"))
