"""A classifier on a labelled split: one pass, all the numbers."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data import Loader, Split
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.functional import confusion_matrix, top_k_error
from convatlas.records import Evaluation, Problem

_TOP5_CLASSES = 6  # with five classes or fewer the top-5 error is 0 by definition


def evaluate(
    net: nn.Module,
    loader: Loader[Split, Tensor],
    *,
    classes: Sequence[str],
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    gather: Callable[[Tensor], Tensor] | None = None,
) -> Evaluation:
    """Runs every sample of a split through the network in eval mode; results are in the split's order, on the CPU.

    Args:
        net: images (B, C, H, W) -> logits (B, K). Its mode is restored, also after an error.
        loader: without `drop_last`.
        classes: K names.
        loss: (logits, labels) -> the mean over the batch.
        device: of the network; batches are moved there.
        progress: called with (batches done, batches).
        gather: where each of several processes has a share of the samples: its rows (n, ...) -> everybody's (N, ...).

    Raises:
        UsageError: the loader drops its last batch.
        ConvatlasError: the network's output does not have one logit a class.
    """
    if loader.drop_last and len(loader) * loader.batch_size < len(loader.split):
        raise UsageError("the loader drops its last batch; expected every sample to be evaluated")
    n, total_loss = 0, 0.0
    logits: list[Tensor] = []
    indices: list[Tensor] = []
    start = time.perf_counter()
    with evaluating(net), torch.inference_mode():
        for step, batch in enumerate(loader.epoch(0), start=1):
            labels = batch.labels.to(device)
            output = net(batch.images.to(device))
            if output.ndim != 2 or output.shape[1] != len(classes):
                raise ConvatlasError(
                    f"the network's output is {tuple(output.shape)}; expected (batch, {len(classes)}) logits"
                )
            if len(labels):  # a process's share of a small last batch may be empty
                total_loss += loss(output, labels).item() * len(labels)
            n += len(labels)
            logits.append(output.float().cpu())
            indices.append(batch.indices)
            if progress is not None:
                progress(step, len(loader))
    every_logit, every_index = torch.cat(logits), torch.cat(indices)
    if gather is not None:
        every_logit, every_index = gather(every_logit), gather(every_index)
        total_loss, n = gather(torch.tensor([[total_loss, n]], dtype=torch.float64)).sum(0).tolist()
    order = every_index.argsort()
    seconds = time.perf_counter() - start
    split = loader.split
    found = summarise(every_logit[order], split.labels, total_loss / n, classes, seconds, split.problems)
    protocol = (
        "one crop" if loader.preprocessing.resize == "short_side" or loader.preprocessing.middle < 1 else "one view"
    )  # the whole image
    return replace(found, probabilities=found.probabilities.softmax(1), protocol=protocol)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The network in eval mode; afterwards each module has its own mode back."""
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def summarise(
    scores: Tensor, labels: Tensor, loss: float, classes: Sequence[str], seconds: float, problems: Sequence[Problem]
) -> Evaluation:
    """All the numbers of (N, K) scores, which are put in the place of the probabilities."""
    return Evaluation(
        classes=tuple(classes),
        labels=labels,
        probabilities=scores,
        loss=loss,
        top1_error=top_k_error(scores, labels, 1),
        top5_error=top_k_error(scores, labels, 5) if len(classes) >= _TOP5_CLASSES else None,
        confusion=confusion_matrix(scores.argmax(1), labels, len(classes)),
        seconds=seconds,
        problems=tuple(problems),
    )
