"""The training loop. Devices, precision and processes are accelerate's; the loop is ours, to be read in one sitting."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.tensorboard import SummaryWriter

from convatlas import registry, weights
from convatlas.data import DataSet, Loader, default_preprocessing, measured
from convatlas.evaluation import evaluate
from convatlas.structures import AuxiliaryOutputs, ConvatlasError, Evaluation, UsageError
from convatlas.training import run as runs
from convatlas.training.losses import per_sample
from convatlas.training.optimizers import StochasticDiagonalLM
from convatlas.training.prepare import few_threads, make_optimizer
from convatlas.training.recipe import OwnRule, Recipe
from convatlas.training.run import RunFolder


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows: sent a few times a second."""

    epoch: int  # from 1
    epochs: int
    step: int  # within the epoch, from 1
    steps: int
    loss: float  # mean over the epoch so far
    error: float  # fraction
    images_per_s: float


@dataclass(frozen=True)
class Trained:
    """The outcome of `fit`: the folder, and the score of the weights that were kept on the test part."""

    run: RunFolder
    evaluation: Evaluation
    seconds: float  # training and testing after each epoch, without loading and report


def fit(
    recipe: Recipe,
    data: DataSet,
    out: Path,
    *,
    device: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    on_loading: Callable[[int, int], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Trained:
    """Trains a network by a recipe on a data set and leaves a run folder behind.

    Args:
        recipe: what to do; `find` and `dataclasses.replace` make one.
        data: from `data.load`.
        out: the run folder, new or empty, or an earlier run with `overwrite`.
        device: "cpu" or "cuda"; None takes the best there is.
        workers: processes that decode pictures which do not fit in memory.
        overwrite: an earlier run in `out` is replaced.
        on_loading: called with (pictures read, pictures) before the first epoch.
        on_progress: called a few times a second.
        on_epoch: called with each row of metrics.jsonl.

    Raises:
        UsageError: the recipe's network is unknown, or `out` can't be written.
        ConvatlasError: the loss is no longer finite.
    """
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=recipe.precision)
    if device is not None and accelerator.device.type != torch.device(device).type:
        raise UsageError(f"device {device!r} is not there; this machine has {accelerator.device.type}")
    network = registry.card(recipe.network)
    preprocessing = measured(recipe.preprocessing or default_preprocessing(network, data.train), data.train)
    card = weights.make_card(
        network.name,
        num_classes=len(data.classes),
        in_channels=preprocessing.channels,
        classes=data.classes,
        preprocessing=preprocessing,
    )
    common = {"seed": recipe.seed, "device": accelerator.device, "workers": workers, "on_progress": on_loading}
    training = {"augment": recipe.augment, "shuffle": True, **common}
    train = Loader(data.train, preprocessing, batch_size=recipe.batch_size, **training)
    test = Loader(data.test, preprocessing, batch_size=256, **common)

    torch.manual_seed(recipe.seed)
    net = registry.build(recipe.network, num_classes=len(data.classes), in_channels=preprocessing.channels)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = make_optimizer(recipe, net)
    before_epoch = None
    if isinstance(optimizer, StochasticDiagonalLM):
        patterns = Loader(data.train, preprocessing, batch_size=min(optimizer.patterns, len(data.train)), **training)
        before_epoch = partial(estimate_curvature, optimizer, patterns, recipe)
    net = accelerator.prepare(net)
    optimizer = accelerator.prepare(optimizer) if optimizer else None

    started, best, kept = time.perf_counter(), float("inf"), None
    errors: list[float] = []  # on the test part after each pass; a schedule may look at them
    input_shape = (preprocessing.channels, *preprocessing.size)
    run = runs.create(out, recipe, data.classes, device=str(accelerator.device), overwrite=overwrite)
    with ExitStack() as stack:
        stack.enter_context(runs.nothing_half_written(run))
        stack.enter_context(few_threads(network.name, input_shape, recipe.batch_size))
        board = stack.enter_context(SummaryWriter(str(run.path)))
        for epoch in range(recipe.epochs):
            if before_epoch:
                before_epoch(epoch)
            row = _epoch(accelerator, recipe, net, optimizer, train, epoch, errors, on_progress)
            evaluation = evaluate(net, test, classes=data.classes, loss=per_sample(recipe.loss), device=train.device)
            row |= {"test_loss": evaluation.loss, "test_error": evaluation.top1_error}
            errors.append(evaluation.top1_error)
            run.log(row)
            for key in ("train_loss", "test_loss", "train_error", "test_error", "learning_rate"):
                board.add_scalar(key, row[key], global_step=int(row["step"]))
            run.save("last", accelerator.unwrap_model(net), card)
            if recipe.keep == "last" or evaluation.top1_error < best:
                best, kept = evaluation.top1_error, evaluation
                if recipe.keep == "best" or epoch == recipe.epochs - 1:
                    run.save("best", accelerator.unwrap_model(net), card)
            if on_epoch:
                on_epoch(row)
    assert kept is not None  # a recipe has at least one epoch, and no error is above infinity
    seconds = time.perf_counter() - started
    return Trained(run, replace(kept, problems=(*data.train.problems, *data.test.problems)), seconds)


def estimate_curvature(optimizer: StochasticDiagonalLM, patterns: Loader, recipe: Recipe, epoch: int) -> None:
    """Renews the second derivatives from the first patterns of the pass."""
    batch = next(iter(patterns.epoch(epoch)))
    optimizer.estimate(batch.images, batch.labels, recipe.loss)


def forward(net: nn.Module, recipe: Recipe, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(logits, loss) in train mode; each auxiliary head adds its weighted loss."""
    outputs = net(images)
    if not isinstance(outputs, AuxiliaryOutputs):
        return outputs, recipe.loss(outputs, labels)
    auxiliary = sum(recipe.loss(head, labels) for head in outputs.auxiliary)
    return outputs.logits, recipe.loss(outputs.logits, labels) + recipe.auxiliary_weight * auxiliary


def _epoch(
    accelerator: Accelerator,
    recipe: Recipe,
    net: Any,
    optimizer: Any,
    train: Loader,
    epoch: int,
    errors: Sequence[float],
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, float]:
    """One pass over the training part; returns the row of metrics.jsonl without the test columns."""
    net.train()
    steps, base = len(train), getattr(recipe.optimizer, "lr", 0.0)
    random_layers = any(isinstance(m, _DropoutNd) or getattr(m, "draws_randomly", False) for m in net.modules())
    sums = torch.zeros(2, device=train.device)  # loss, errors
    seen, rate, started, shown = 0, base, time.perf_counter(), 0.0
    for index, batch in enumerate(train.epoch(epoch)):
        step = epoch * steps + index
        rate = recipe.schedule.rate(base, step, recipe.epochs * steps, errors)
        for group in optimizer.param_groups if optimizer else ():
            group["lr"] = rate
        if random_layers:  # dropout is a function of seed, step and rank
            torch.manual_seed((recipe.seed << 40) + (step << 10) + accelerator.process_index)
        images = batch.images.contiguous(memory_format=torch.channels_last) if recipe.channels_last else batch.images
        if isinstance(recipe.optimizer, OwnRule):
            net.learn(images, batch.labels)
            with torch.no_grad():
                logits = net(images)
                loss = recipe.loss(logits, batch.labels)
        else:
            with accelerator.autocast():
                logits, loss = forward(net, recipe, images, batch.labels)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        seen += len(batch.labels)
        with torch.no_grad():
            summed = loss if recipe.loss.reduction == "sum" else loss * len(batch.labels)
            sums += torch.stack((summed, (logits.argmax(dim=1) != batch.labels).sum()))
        now = time.perf_counter()
        if now - shown > 0.25:
            shown = now
            mean_loss, error = (sums / seen).tolist()
            if not math.isfinite(mean_loss):
                break
            if on_progress:
                speed = seen / (now - started)
                on_progress(Progress(epoch + 1, recipe.epochs, index + 1, steps, mean_loss, error, speed))
    if isinstance(recipe.optimizer, OwnRule):
        net.end_pass(epoch)
    seconds = time.perf_counter() - started
    mean_loss, error = (sums / seen).tolist()
    if not math.isfinite(mean_loss):
        raise ConvatlasError(
            f"the loss became {mean_loss} in epoch {epoch + 1}; try a smaller learning rate. "
            "The weights of the epoch before are in the run folder"
        )
    return {
        "epoch": epoch + 1,
        "step": (epoch + 1) * steps,
        "images": seen,
        "learning_rate": rate,
        "train_loss": mean_loss,
        "train_error": error,
        "images_per_s": seen / seconds,
        "seconds": seconds,
    }
