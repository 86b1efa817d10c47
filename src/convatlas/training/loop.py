"""The training loop, to be read in one sitting. What a step does is in `step`, how a run survives in `session`."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convatlas import registry, weights
from convatlas.allocator import keep_freed_memory
from convatlas.data import DataSet
from convatlas.errors import ConvatlasError
from convatlas.evaluation import OneCrop, evaluate_views
from convatlas.evaluation.protocols import describe, with_scales
from convatlas.records import AnyEvaluation
from convatlas.training import distributed
from convatlas.training.conflicts import describe_conflicts, find_conflicts
from convatlas.training.place import Place, SaveEvery, describe_samples
from convatlas.training.position import Position
from convatlas.training.prepare import few_threads
from convatlas.training.recipe import OwnRule, Recipe
from convatlas.training.run import RunFolder
from convatlas.training.session import Session
from convatlas.training.setup import Setup, set_up
from convatlas.training.stages import goes_on, train_before
from convatlas.training.step import NotFiniteError
from convatlas.training.summary import Summary
from convatlas.training.tasks import TASKS
from convatlas.training.trackers import check_trackers
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
    """The outcome of `fit`: the folder, and the score of the weights that were kept on the test split."""

    run: RunFolder
    evaluation: AnyEvaluation  # of the network's task
    summary: Summary

    @property
    def seconds(self) -> float:
        """The training time: what the epochs took, each with its evaluation; without loading, final test and report."""
        return self.summary.seconds


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
    trackers: Sequence[str] = (),
    on_loading: Callable[[int, int], None] | None = None,
    on_progress: OnProgress | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Trained:
    """Trains a network by a recipe on a data set and leaves a run folder behind.

    Epochs are compared on the validation split where the data have one, and the test split is seen once, by the
    weights that are kept. Where there is none, the test split serves for both, and the summary says so.

    Started by torchrun, each process calls it alike; the first one writes, and all return the same evaluation.

    Args:
        recipe: what to do; `find` and `dataclasses.replace` make one.
        data: from `data.load`.
        out: the run folder, new or empty, or an earlier run with `overwrite` or `resume`.
        device: "cpu" or "cuda"; None takes the best there is.
        workers: processes that decode images which do not fit in memory.
        overwrite: an earlier run in `out` is replaced.
        resume: the run in `out` goes on from its newest whole checkpoint, or from the start where it has none.
        save_every: when a checkpoint is written, besides the end of each epoch.
        trackers: "mlflow", "wandb", besides TensorBoard.
        on_loading: called with (images read, images) before the first epoch.
        on_progress: called a few times a second.
        on_epoch: called with each row of metrics.jsonl.
        on_note: called with a sentence that the user should see.

    Raises:
        UsageError: the recipe's network is unknown, or `out` can't be written.
        ConvatlasError: the loss is no longer finite, the disk is full, or another process of the run died.
        InterruptedRunError: SIGTERM or Ctrl-C came, and the run is saved.
    """
    if recipe.after is not None and not (resume and goes_on(recipe, out)):

        def fit_stage(stage: Recipe, folder: Path, *, overwrite: bool, resume: bool) -> Trained:
            return fit(
                stage,
                data,
                folder,
                device=device,
                workers=workers,
                overwrite=overwrite,
                resume=resume,
                save_every=save_every,
                trackers=trackers,
                on_loading=on_loading,
                on_progress=on_progress,
                on_epoch=on_epoch,
                on_note=on_note,
            )

        recipe = train_before(recipe, out, fit_stage, on_note or (lambda _: None), overwrite=overwrite)
    processes = distributed.join(device)
    check_trackers(trackers)
    place = Place(out, overwrite, resume, save_every, tuple(trackers))
    samples = describe_samples(data, place) if processes.first else None  # before a loader leaves any out
    labelled = TASKS[registry.card(recipe.network).task].has_classes
    if on_note and samples and labelled and (pairs := find_conflicts(data, samples)):
        on_note(describe_conflicts(data, pairs))
    if processes.device.type == "cpu":
        keep_freed_memory()
    setup = set_up(recipe, data, processes, workers=workers, on_loading=on_loading, on_note=on_note)
    if recipe.test_time != OneCrop():  # better now than after the training
        with_scales(recipe.test_time, setup.preprocessing)
    local_batch = math.ceil(recipe.batch_size / processes.count)
    with (
        distributed.deaths_explained(processes, out),
        Session(setup, data, place, samples, on_note) as session,
        few_threads(setup.multiply_adds * local_batch),
    ):
        at = session.position
        kept: AnyEvaluation | None = None
        while at.epoch < setup.recipe.epochs and not (recipe.stop and recipe.stop.reached(at.errors)):
            row = _pass(setup, session, at, on_progress)
            started = time.perf_counter()
            evaluation, is_result = _compare(setup, session, at)
            row["seconds"] += time.perf_counter() - started
            kept = evaluation if is_result else kept
            split = setup.compares_on
            row |= {f"{split}_loss": evaluation.loss, f"{split}_error": evaluation.error, **evaluation.scores()}
            row["protocol"] = evaluation.protocol
            at.end_epoch(row)
            session.log(row)
            session.save(min(at.epoch * setup.steps, setup.all_steps))
            if on_epoch:
                on_epoch(row)
        evaluation = _test(setup, session, data, kept, on_note)
        summary = session.finish(evaluation)
    problems = tuple(dict.fromkeys((*data.train.problems, *data.test.problems, *evaluation.problems)))
    return Trained(session.run, replace(evaluation, problems=problems), summary)


def _pass(setup: Setup, session: Session, at: Position, on_progress: OnProgress | None) -> dict[str, Any]:
    """What is left of one epoch; returns the row of metrics.jsonl without the columns of its evaluation."""
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
        return recipe.schedule.rate(base, step, setup.all_steps, errors)

    def settle() -> None:
        """Brings the position up to date, so that it can be saved."""
        watch.settle()
        at.sums = processes.sum(sums).tolist()
        at.epoch_seconds = before + time.perf_counter() - started

    try:
        left = setup.all_steps - at.epoch * steps - at.index
        for batch in itertools.islice(session.batches(at), left):
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
    done = min((at.epoch + 1) * steps, setup.all_steps)
    return {
        "epoch": at.epoch + 1,
        "step": done,
        "images": at.seen,
        "learning_rate": rate(done - 1),
        "train_loss": loss_sum / at.seen,
        **error,
        "images_per_s": at.seen / at.epoch_seconds,
        "seconds": at.epoch_seconds,
    }


def _compare(setup: Setup, session: Session, at: Position) -> tuple[AnyEvaluation, bool]:
    """(the score of the weights as they are, or of their average; whether they are the result so far)"""
    recipe, learner = setup.recipe, setup.learner
    with learner.result_in_place():
        evaluation = setup.score(learner.net)
        best = at.take_if_best(evaluation.error)
        session.save_weights(learner.weights(), best=best)
    return evaluation, best or recipe.keep == "last"


def _test(
    setup: Setup, session: Session, data: DataSet, kept: AnyEvaluation | None, on_note: Callable[[str], None] | None
) -> AnyEvaluation:
    """The score of the weights that are the result, on the test split.

    Args:
        kept: their score after their epoch; None where that was before the run went on.
    """
    protocol, net = setup.recipe.test_time, setup.learner.net
    as_published = protocol != OneCrop()
    if kept is not None and setup.final is None and not as_published:
        return kept
    if on_note and (as_published or setup.final):
        on_note(f"testing by {describe(protocol)}" if as_published else "testing, on images that were not seen before")
    setup.processes.sum(torch.zeros(1, dtype=torch.float64))  # the first process has written them
    path = session.run.kept(setup.recipe)
    if not path.exists():
        raise ConvatlasError(f"{path} is absent, so the run has no result; overwrite=True trains anew")
    setup.learner.load_weights(weights.read(path)[0])
    if as_published:  # every process scores all
        device = setup.processes.device
        return evaluate_views(net, data.test, setup.preprocessing, protocol, classes=data.classes, device=device)
    return (setup.final or setup.score)(net)
