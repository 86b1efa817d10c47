"""A run that survives: where it stands, when that is saved, and how it ends before its end."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any

from torch import Tensor

from convatlas.data import Batch, DataSet
from convatlas.data.batch import Labels
from convatlas.errors import ConvatlasError
from convatlas.records import AnyEvaluation
from convatlas.training import checkpoint, interrupt
from convatlas.training import run as runs
from convatlas.training.inventory import Inventory
from convatlas.training.place import Place
from convatlas.training.position import Position
from convatlas.training.resuming import go_on
from convatlas.training.setup import Setup
from convatlas.training.step import NotFiniteError
from convatlas.training.summary import Summary, chooses
from convatlas.training.trackers import Trackers

AGREE_EVERY = 8  # steps between the questions of several processes whether to save or to end
_NAMED = 8  # samples of a bad batch that a sentence names
_GO_ON, _SAVE, _END = range(3)


class Session:
    """The run folder while a run writes to it. With several processes each has one, and the first one's writes."""

    def __init__(
        self,
        setup: Setup,
        data: DataSet,
        place: Place,
        samples: Inventory | None,
        on_note: Callable[[str], None] | None,
    ) -> None:
        self.setup, self.data, self.place, self.samples = setup, data, place, samples
        self.note = on_note or (lambda sentence: None)
        self.run = runs.RunFolder(place.out)
        self.position = Position()
        self._stack = ExitStack()
        self._saved_at = time.monotonic()

    def __enter__(self) -> "Session":
        with self._stack:
            self.setup.processes.first_does(self._open)
            if self.place.resume:
                self.position = go_on(self.run, self.setup, self.samples, self.note)
            self._trackers = Trackers({})
            if self.setup.processes.first:
                self._trackers = self._stack.enter_context(
                    Trackers.open(self.place.trackers, self.run, self.setup.recipe, self.position, self.note)
                )
            self._request = self._stack.enter_context(interrupt.listening())
            self._stack = self._stack.pop_all()
        return self

    def _open(self) -> None:
        """Locks the folder, which comes before anything is written, and writes what stands before the first step."""
        device, place = str(self.setup.processes.device), self.place
        if place.resume:
            runs.open_run(place.out)
            self._stack.enter_context(runs.locked(self.run))
            return
        made = runs.creating(place.out, self.setup.recipe, self.data.classes, device=device, overwrite=place.overwrite)
        self._stack.enter_context(made)
        if self.data.division is not None:
            runs.write_text(self.run.splits, self.data.division.to_json())
        if self.samples is not None:
            self.samples.write(self.run.samples)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        done = self._stack.__exit__(kind, error, trace)
        if isinstance(error, OSError):
            raise ConvatlasError(f"{error.strerror or error}; {self.last_good()}") from error
        return done

    def batches(self, at: Position) -> Iterator[Batch[Labels]]:
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
        every, minutes = self.place.save_every.steps, self.place.save_every.minutes
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
            f"`convatlas train --resume {self.place.out}` goes on from there",
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
        """Writes the weights after the epoch that is about to end: as the last, and as the best where they are."""
        epoch = self.position.epoch + 1
        card = self.setup.card | {"epoch": epoch}

        def write() -> None:
            try:
                self.run.save("last", weights, card)
                if best:
                    self.run.save("best", weights, card | {"chosen_on": self.setup.compares_on})
                if epoch in self.place.save_every.epochs:
                    self.run.save(f"epochs/{epoch:03}", weights, card)
            except ConvatlasError as error:
                raise ConvatlasError(f"{error}; {self.last_good()}") from error

        self.setup.processes.first_does(write)

    def log(self, row: dict[str, Any]) -> None:
        if self.setup.processes.first:
            self.run.log(row)
            self._trackers.log(row)

    def finish(self, evaluation: AnyEvaluation) -> Summary:
        """Writes the summary, which makes the run a finished one."""
        recipe, at = self.setup.recipe, self.position
        chosen_on = self.setup.compares_on if chooses(recipe) else None
        summary = Summary(
            test_error=evaluation.error,
            test_loss=evaluation.loss,
            seconds=at.seconds,
            epoch=at.best_epoch if recipe.keep == "best" else at.epoch,
            epochs=at.epoch,
            kept=recipe.keep,
            chosen_on=chosen_on,
            protocol=evaluation.protocol,
            scores=evaluation.scores(),
            val_serves_as_test=self.setup.val_serves_as_test,
        )
        if self.setup.processes.first:
            summary.write(self.run.summary)
            self._trackers.finish(summary)
        return summary

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
