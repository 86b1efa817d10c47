"""A run that survives: where it stands, when that is saved, and how it ends before its end."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from convatlas.data import Batch, DataSet
from convatlas.structures import SCORES, ConvatlasError, UsageError
from convatlas.training import checkpoint, interrupt
from convatlas.training import run as runs
from convatlas.training.setup import Setup
from convatlas.training.step import NotFiniteError
from convatlas.training.tasks import Scored

AGREE_EVERY = 8  # steps between the questions of several processes whether to save or to end
CURVES = ("train_loss", "test_loss", "train_error", "test_error", "learning_rate")
_NAMED = 8  # samples of a bad batch that a sentence names
_GO_ON, _SAVE, _END = range(3)


@dataclass(frozen=True)
class SaveEvery:
    """When a checkpoint is written within an epoch; at its end one always is."""

    steps: int | None = None
    minutes: float | None = 5.0
    epochs: tuple[int, ...] = ()  # from 1; their weights stay, under checkpoints/epochs


@dataclass
class Position:
    """Where a run stands. Together with the learner's state it is the whole run."""

    epoch: int = 0  # that are over
    index: int = 0  # steps done in the epoch
    seen: int = 0  # samples in the epoch
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])  # losses and errors in the epoch
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best: float = float("inf")
    rows: list[dict[str, Any]] = field(default_factory=list)  # of metrics.jsonl

    @property
    def errors(self) -> list[float]:
        """On the test part after each epoch."""
        return [row["test_error"] for row in self.rows]

    def end_epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.epoch, self.index, self.seen, self.sums, self.epoch_seconds = self.epoch + 1, 0, 0, [0.0, 0.0], 0.0


class Session:
    """The run folder while a run writes to it. With several processes each has one, and the first one's writes."""

    def __init__(
        self,
        setup: Setup,
        data: DataSet,
        out: Path,
        overwrite: bool,
        resume: bool,
        save_every: SaveEvery,
        on_note: Callable[[str], None] | None,
    ) -> None:
        self.setup, self.data, self.out, self.save_every = setup, data, out, save_every
        self.overwrite, self.resume = overwrite, resume
        self.note = on_note or (lambda sentence: None)
        self.run = runs.RunFolder(out)
        self.position = Position()
        self._stack = ExitStack()
        self._saved_at = time.monotonic()

    def __enter__(self) -> "Session":
        setup, device = self.setup, str(self.setup.processes.device)
        with self._stack:
            setup.processes.first_does(lambda: self._open(device))
            if self.resume:
                self._go_on()
            self._board = None
            if setup.processes.first:
                self._board = self._stack.enter_context(SummaryWriter(str(self.run.path)))
                for row in self.position.rows:
                    self._draw(row)
            self._request = self._stack.enter_context(interrupt.listening())
            self._stack = self._stack.pop_all()
        return self

    def _open(self, device: str) -> None:
        if self.resume:
            runs.open_run(self.out)
            self._stack.enter_context(runs.locked(self.run))
            return
        runs.create(self.out, self.setup.recipe, self.data.classes, device=device, overwrite=self.overwrite)
        self._stack.enter_context(runs.nothing_half_written(self.run))
        if self.data.division is not None:
            runs.write_text(self.run.splits, self.data.division.to_json())
        self._stack.enter_context(runs.locked(self.run))

    def _go_on(self) -> None:
        """Restores the newest whole checkpoint, and brings what the folder tells of the run back to it."""
        state, problems = self.setup.processes.from_first(lambda: checkpoint.load_newest(self.run.states))
        for problem in problems:
            self.note(f"the checkpoint {problem.path} can't be used: {problem.reason}; the one before it is")
        if state is not None:
            found = (state["steps"], state["samples"])
            if found != (expected := (self.setup.steps, len(self.setup.train.split))):
                raise UsageError(
                    f"--resume {self.out}: the run had {found[1]} samples in {found[0]} steps an epoch, the data now "
                    f"have {expected[1]} in {expected[0]}; it can only go on with the data that it began with"
                )
            self.position = Position(**state["position"])
            self.setup.learner.restore(state["learner"])
            at = self.position
            self.note(f"going on in epoch {at.epoch + 1} after step {at.index} of {self.setup.steps}")
        if self.setup.processes.first:
            self.run.rewrite(self.position.rows)
            for old in self.run.path.glob("events.out.tfevents.*"):  # drawn anew from the rows
                old.unlink()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        done = self._stack.__exit__(kind, error, trace)
        if isinstance(error, OSError):
            raise ConvatlasError(f"{error.strerror or error}; {self.last_good()}") from error
        return done

    def batches(self, at: Position) -> Iterator[Batch]:
        """What is left of the epoch. A worker process that Ctrl-C ended is no error if the run is to end anyway."""
        try:
            yield from self.setup.train.epoch(at.epoch, at.index)
        except RuntimeError:
            if self._request.received is None:
                raise
            self._end(at.epoch * self.setup.steps + at.index, lambda: None)

    def after_step(self, step: int, settle: Callable[[], None]) -> None:
        """Saves if it is time to, and ends the run if that was asked for. `settle` brings the position up to date."""
        wish = _END if self._request.received else _SAVE if self._due(step) else _GO_ON
        if self.setup.processes.count > 1:
            wish = self.setup.processes.most(wish) if step % AGREE_EVERY == 0 else _GO_ON
        if wish == _SAVE:
            settle()
            self.save(step)
        elif wish == _END:
            self._end(step, settle)

    def _due(self, step: int) -> bool:
        every, minutes = self.save_every.steps, self.save_every.minutes
        # with several processes only some steps are asked about, and the next of those is due
        near = AGREE_EVERY if self.setup.processes.count > 1 else 1
        if every is not None and step % every < min(near, every):
            return True
        return minutes is not None and time.monotonic() - self._saved_at > 60 * minutes

    def _end(self, step: int, settle: Callable[[], None]) -> None:
        settle()
        self.save(step)
        epoch, index = self.position.epoch + 1, self.position.index
        raise interrupt.InterruptedRunError(
            f"stopped in epoch {epoch}, step {index} of {self.setup.steps}; nothing is lost: "
            f"`convatlas train --resume {self.out}` goes on from there",
            self._request.received or 15,
        )

    def save(self, step: int) -> None:
        """Writes the whole run as it stands after `step` steps.

        Raises:
            ConvatlasError: weights that are not finite, or a disk that is full; the checkpoint before stays.
        """
        learner = self.setup.learner.state()
        self._saved_at = time.monotonic()
        state = {
            "steps": self.setup.steps,
            "samples": len(self.setup.train.split),
            "position": asdict(self.position),
            "learner": learner,
        }

        def write() -> None:
            if not all(t.isfinite().all() for t in learner["net"].values() if t.is_floating_point()):
                raise ConvatlasError(f"the weights are no longer finite after step {step}; {self.last_good()}")
            checkpoint.save(self.run.states, step, state)

        self.setup.processes.first_does(write)

    def save_weights(self, weights: dict[str, Tensor], *, best: bool) -> None:
        def write() -> None:
            try:
                self.run.save("last", weights, self.setup.card)
                if best:
                    self.run.save("best", weights, self.setup.card)
                if (epoch := self.position.epoch + 1) in self.save_every.epochs:
                    self.run.save(f"epochs/{epoch:03}", weights, self.setup.card)
            except ConvatlasError as error:
                raise ConvatlasError(f"{error}; {self.last_good()}") from error

        self.setup.processes.first_does(write)

    def log(self, row: dict[str, Any]) -> None:
        if self.setup.processes.first:
            self.run.log(row)
            self._draw(row)

    def _draw(self, row: dict[str, Any]) -> None:
        assert self._board is not None
        for key in (key for key in (*CURVES, *SCORES) if key in row):
            self._board.add_scalar(key, row[key], global_step=int(row["step"]))

    def finish(self, evaluation: Scored) -> None:
        if self.setup.processes.first:
            summary = {"test_error": evaluation.error, "seconds": self.position.seconds, **evaluation.scores()}
            runs.write_text(self.run.summary, json.dumps(summary, indent=2))

    def not_finite(self, error: NotFiniteError) -> ConvatlasError:
        """The sentence for a loss that is NaN or infinite; the whole batch is written down in the run folder."""
        steps, paths = self.setup.steps, self.setup.train.split.paths
        indices = error.indices.tolist()
        names = [paths[i] for i in indices] if paths else [f"sample {i}" for i in indices]
        listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        where = {"epoch": error.step // steps + 1, "step": error.step % steps + 1, "loss": str(error.loss)}
        with suppress(OSError):
            record = where | {"indices": indices, "files": names if paths else None}
            runs.write_text(self.run.path / "not_finite.json", json.dumps(record, indent=2))
        return ConvatlasError(
            f"the loss became {error.loss} in epoch {where['epoch']}, step {where['step']} of {steps}, on {listed}; "
            f"try a smaller learning rate, or look at these samples; {self.last_good()}"
        )

    def last_good(self) -> str:
        newest = checkpoint.newest_name(self.run.states)
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"
