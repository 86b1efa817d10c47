"""Experiment trackers: what a run tells as it goes, to TensorBoard, MLflow or Weights & Biases.

One more is a class with `start`, `log` and `finish`, and a line in `TRACKERS`.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import SCORES
from convatlas.training.plain import plain
from convatlas.training.position import Position
from convatlas.training.recipe import Recipe
from convatlas.training.run import RunFolder
from convatlas.training.summary import Summary

CURVES = (
    "train_loss", "val_loss", "test_loss", "train_error", "val_error", "test_error", "learning_rate",
)  # fmt: skip


NOTES = {"mlflow": "mlflow_run_id.txt", "wandb": "wandb_run_id.txt"}  # by which a resumed run finds its own again


Note = Callable[[str], None]


class Tracker(Protocol):
    """Takes down one run."""

    def start(self, run: RunFolder, settings: Mapping[str, Any]) -> bool:
        """Before the first step; `settings` are the recipe's fields, "optimizer.lr" and so on.

        Returns:
            Whether it knows nothing of the run yet, so that epochs that are over are told again.
        """
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """After an epoch, `step` steps from the start of the run."""
        ...

    def finish(self, results: Mapping[str, float] | None) -> None:
        """At the end, with the results on the test split; None where the run stopped before its end."""
        ...


class TensorBoard:
    """Event files in the run folder, drawn anew where a run goes on."""

    def start(self, run: RunFolder, settings: Mapping[str, Any]) -> bool:
        from torch.utils.tensorboard import SummaryWriter

        for old in run.path.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(run.path))
        return True

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=step)

    def finish(self, results: Mapping[str, float] | None) -> None:
        self._writer.close()


class MLflow:
    """A run of MLflow: in the folder or at the server that MLFLOW_TRACKING_URI names, by default in `mlruns`."""

    def start(self, run: RunFolder, settings: Mapping[str, Any]) -> bool:
        import mlflow

        if not mlflow.is_tracking_uri_set():  # a folder needs no server and no database
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri(Path("mlruns").absolute().as_uri())
        self._mlflow, note = mlflow, run.path / NOTES["mlflow"]
        known = note.read_text().strip() if note.exists() else None
        begun = mlflow.start_run(run_id=known, run_name=None if known else run.path.name)
        if known is None:
            note.write_text(begun.info.run_id)
            mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})
        return known is None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def finish(self, results: Mapping[str, float] | None) -> None:
        if results is not None:
            self._mlflow.log_metrics(dict(results))
        self._mlflow.end_run("FINISHED" if results is not None else "KILLED")


class WandB:
    """A run of Weights & Biases in the run folder; WANDB_MODE=offline needs no account."""

    def start(self, run: RunFolder, settings: Mapping[str, Any]) -> bool:
        import wandb

        note = run.path / NOTES["wandb"]
        known = note.read_text().strip() if note.exists() else None
        self._run = wandb.init(
            project="convatlas", name=run.path.name, dir=str(run.path), id=known, resume="allow", config=dict(settings)
        )
        note.write_text(self._run.id)
        return known is None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, results: Mapping[str, float] | None) -> None:
        if results is not None:
            self._run.summary.update(dict(results))
        self._run.finish(exit_code=0 if results is not None else 1)


TRACKERS: dict[str, Callable[[], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}


class Trackers:
    """All trackers of a run. One that fails in the middle is dropped with a word, as the run is worth more."""

    def __init__(self, trackers: Mapping[str, Tracker], on_note: Note | None = None) -> None:
        self._trackers, self._note, self._finished = dict(trackers), on_note or (lambda sentence: None), False

    @classmethod
    @contextmanager
    def open(
        cls, names: Sequence[str], run: RunFolder, recipe: Recipe, position: Position, on_note: Note | None
    ) -> Iterator["Trackers"]:
        """Starts them, tells them of the epochs that are over already, and ends them whatever happens.

        Raises:
            ConvatlasError: one can't be started.
        """
        own = [name for name, note in NOTES.items() if (run.path / note).exists()]
        trackers = cls({name: TRACKERS[name]() for name in dict.fromkeys(("tensorboard", *names, *own))}, on_note)
        settings = flatten(plain(recipe))
        try:
            for name, tracker in trackers._trackers.items():
                if _start(name, tracker, run, settings):
                    cls({name: tracker}, on_note).log_all(position.rows)
            yield trackers
        finally:
            if not trackers._finished:
                trackers._each(lambda tracker: tracker.finish(None))

    def log_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.log(row)

    def log(self, row: Mapping[str, Any]) -> None:
        """A row of metrics.jsonl."""
        known = (*CURVES, *SCORES)
        values = {name: float(row[name]) for name in known if row.get(name) is not None and row[name] == row[name]}
        self._each(lambda tracker: tracker.log(int(row["step"]), values))

    def finish(self, summary: Summary) -> None:
        found = {"final_test_error": summary.test_error, "final_test_loss": summary.test_loss}
        results = {name: value for name, value in found.items() if value == value}
        self._finished = True
        self._each(lambda tracker: tracker.finish(results))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # whatever a server, its client or a network may come up with
                if name not in PACKAGES:
                    raise
                del self._trackers[name]
                self._note(f"the tracker {name} fails and is told no more: {_first_line(error)}")


def _start(name: str, tracker: Tracker, run: RunFolder, settings: Mapping[str, Any]) -> bool:
    try:
        return tracker.start(run, settings)
    except Exception as error:
        if name not in PACKAGES:
            raise
        raise ConvatlasError(f"the tracker {name} can't be started: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_trackers(names: Sequence[str]) -> None:
    """Raises UsageError for a tracker that is unknown or not installed, before anything is trained."""
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"tracker is {name!r}; expected one of {', '.join(TRACKERS)}")
        if name in PACKAGES and find_spec(name) is None:
            raise UsageError(f"tracker {name} is not installed; do `pip install {PACKAGES[name]}`")


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    """{"optimizer": {"lr": 0.1}} -> {"optimizer.lr": 0.1}"""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= flatten(entry, f"{name}.{key}" if name else key)
    return flat
