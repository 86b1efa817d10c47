"""The training loop, to be read in one sitting. What a step does is in `step`, how a run survives in `session`."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convatlas import weights
from convatlas.allocator import keep_freed_memory
from convatlas.data import DataSet
from convatlas.evaluation import OneCrop, evaluate_views
from convatlas.evaluation.protocols import describe, with_scales
from convatlas.structures import ConvatlasError, Evaluation
from convatlas.training import distributed
from convatlas.training.prepare import few_threads
from convatlas.training.recipe import OwnRule, Recipe
from convatlas.training.run import RunFolder
from convatlas.training.session import Position, SaveEvery, Session
from convatlas.training.setup import Setup, set_up
from convatlas.training.step import NotFiniteError
from convatlas.training.watch import LossWatch


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows: sent a few times a second."""

    epoch: int  # from 1
    epochs: int
    step: int  # within the epoch, from 1
    steps: int
    loss: float  # mean over the epoch so far, of this process's samples
    error: float  # fraction
    images_per_s: float  # of all processes


@dataclass(frozen=True)
class Trained:
    """The outcome of `fit`: the folder, and the score of the weights that were kept on the test part."""

    run: RunFolder
    evaluation: Any  # of the network's task; `tasks.Scored` is what all have
    seconds: float  # training and testing after each epoch, without loading and report


OnProgress = Callable[[Progress], None]


def fit(
    recipe: Recipe,
    data: DataSet,
    out: Path,
    *,
    device: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    save_every: SaveEvery = SaveEvery(),  # noqa: B008 - frozen
    on_loading: Callable[[int, int], None] | None = None,
    on_progress: OnProgress | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Trained:
    """Trains a network by a recipe on a data set and leaves a run folder behind.

    Started by torchrun, each process calls it alike; the first one writes, and all return the same evaluation.

    Args:
        recipe: what to do; `find` and `dataclasses.replace` make one.
        data: from `data.load`.
        out: the run folder, new or empty, or an earlier run with `overwrite` or `resume`.
        device: "cpu" or "cuda"; None takes the best there is.
        workers: processes that decode pictures which do not fit in memory.
        overwrite: an earlier run in `out` is replaced.
        resume: the run in `out` goes on from its newest whole checkpoint, or from the start where it has none.
        save_every: when a checkpoint is written, besides the end of each epoch.
        on_loading: called with (pictures read, pictures) before the first epoch.
        on_progress: called a few times a second.
        on_epoch: called with each row of metrics.jsonl.
        on_note: called with a sentence that the user should see.

    Raises:
        UsageError: the recipe's network is unknown, or `out` can't be written.
        ConvatlasError: the loss is no longer finite, the disk is full, or another process of the run died.
        InterruptedRunError: SIGTERM or Ctrl-C came, and the run is saved.
    """
    processes = distributed.join(device)
    if processes.device.type == "cpu":
        keep_freed_memory()
    setup = set_up(recipe, data, processes, workers=workers, on_loading=on_loading, on_note=on_note)
    if recipe.test_time != OneCrop():  # better now than after the training
        with_scales(recipe.test_time, setup.preprocessing)
    local_batch = math.ceil(recipe.batch_size / processes.count)
    started = time.perf_counter()
    with (
        distributed.deaths_explained(processes, out),
        Session(setup, data, out, overwrite, resume, save_every, on_note) as session,
        few_threads(setup.multiply_adds * local_batch),
    ):
        at, before = session.position, session.position.seconds
        kept: Any = None
        while at.epoch < recipe.epochs and not (recipe.stop and recipe.stop.reached(at.errors)):
            row = _pass(setup, session, at, on_progress)
            evaluation, best = _test(setup, session, at)
            kept = evaluation if best else kept
            row |= {"test_loss": evaluation.loss, "test_error": evaluation.error, **evaluation.scores()}
            at.seconds = before + time.perf_counter() - started
            at.end_epoch(row)
            session.log(row)
            session.save(at.epoch * setup.steps)
            if on_epoch:
                on_epoch(row)
        if kept is None:  # the best epoch was before the run went on
            kept = _score_kept(setup, session)
        if recipe.test_time != OneCrop():
            kept = _test_as_published(setup, session, data, on_note)
        session.finish(kept)
    problems = tuple(dict.fromkeys((*data.train.problems, *data.test.problems, *kept.problems)))
    return Trained(session.run, replace(kept, problems=problems), at.seconds)


def _pass(setup: Setup, session: Session, at: Position, on_progress: OnProgress | None) -> dict[str, float]:
    """What is left of one pass over the training part; returns the row of metrics.jsonl without the test columns."""
    recipe, learner, processes, steps = setup.recipe, setup.learner, setup.processes, setup.steps
    if setup.before_pass and at.index == 0:
        setup.before_pass(at.epoch)
    learner.begin_pass(at.epoch)
    base = getattr(recipe.optimizer, "lr", 0.0)
    watch = LossWatch(processes.device)
    sums = torch.tensor(at.sums if processes.first else [0.0, 0.0], dtype=torch.float64, device=processes.device)
    started, shown, first = time.perf_counter(), 0.0, at.seen
    before = at.epoch_seconds
    errors = at.errors

    def rate(step: int) -> float:
        return recipe.schedule.rate(base, step, recipe.epochs * steps, errors)

    def settle() -> None:
        """Brings the position up to date, so that it can be saved."""
        watch.settle()
        at.sums = processes.sum(sums).tolist()
        at.epoch_seconds = before + time.perf_counter() - started

    try:
        for batch in session.batches(at):
            step = at.epoch * steps + at.index
            found, loss = learner.learn(batch, step, rate(step))
            sums += found
            watch.see(loss, step, batch.indices)
            at.index, at.seen = at.index + 1, at.seen + batch.total
            session.after_step(step + 1, settle)
            now = time.perf_counter()
            if on_progress and now - shown > 0.25:
                shown = now
                mine = max(at.seen / processes.count, 1)
                loss_so_far, error = (sums / mine).tolist()
                speed = (at.seen - first) / (now - started)
                on_progress(Progress(at.epoch + 1, recipe.epochs, at.index, steps, loss_so_far, error, speed))
        if isinstance(recipe.optimizer, OwnRule):
            learner.net.end_pass(at.epoch)  # pyright: ignore[reportCallIssue]
        settle()
        processes.like_first(learner.net)
    except NotFiniteError as error:
        raise session.not_finite(error) from error
    loss_sum, wrong = at.sums
    error = {} if math.isnan(wrong) else {"train_error": wrong / at.seen}
    return {
        "epoch": at.epoch + 1,
        "step": (at.epoch + 1) * steps,
        "images": at.seen,
        "learning_rate": rate((at.epoch + 1) * steps - 1),
        "train_loss": loss_sum / at.seen,
        **error,
        "images_per_s": at.seen / at.epoch_seconds,
        "seconds": at.epoch_seconds,
    }


def _test(setup: Setup, session: Session, at: Position) -> tuple[Any, bool]:
    """(the score of the weights as they are, or of their average; whether they are the ones to keep)"""
    recipe, learner = setup.recipe, setup.learner
    with learner.result_in_place():
        evaluation = setup.score(learner.net)
        best = recipe.keep == "last" or evaluation.error < at.best
        if best:
            at.best = evaluation.error
        session.save_weights(learner.weights(), best=best)
    return evaluation, best


def _score_kept(setup: Setup, session: Session) -> Any:
    path = session.run.weights("best")
    if not path.exists():
        raise ConvatlasError(f"{path} is absent, so the run has no result; --overwrite trains anew")
    setup.learner.load_weights(weights.read(path)[0])
    return setup.score(setup.learner.net)


def _test_as_published(
    setup: Setup, session: Session, data: DataSet, on_note: Callable[[str], None] | None
) -> Evaluation:
    """The score of the weights that were kept, each picture looked at in the recipe's way; every process scores all."""
    protocol, net, processes = setup.recipe.test_time, setup.learner.net, setup.processes
    if on_note:
        on_note(f"testing by {describe(protocol)}")
    processes.sum(torch.zeros(1, dtype=torch.float64, device=processes.device))  # the first process has written them
    weights.load_into(net, session.run.weights("best"))
    return evaluate_views(net, data.test, setup.preprocessing, protocol, classes=data.classes, device=processes.device)
