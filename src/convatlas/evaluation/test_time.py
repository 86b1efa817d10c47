"""Evaluation as published: every test image through the views of a protocol, their class probabilities averaged."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor, nn

from convatlas.data import Split, normalise
from convatlas.data.preprocess import unpack_mean_image
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.classifier import evaluating, summarise
from convatlas.evaluation.dense import score_map
from convatlas.evaluation.protocols import Dense, TestTime, describe, with_scales
from convatlas.evaluation.views import views
from convatlas.records import Evaluation, Preprocessing, Problem

_TOGETHER = 8  # images whose views are in memory at once

Progress = Callable[[int, int], None]


def evaluate_views(
    net: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    protocol: TestTime,
    *,
    classes: Sequence[str],
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Evaluation:
    """Scores a split by a protocol: of each image the softmax is averaged over its views.

    Of a dense protocol the score map is pooled before the softmax, and the average runs over scales and mirror images.
    The loss is minus the mean logarithm of the averaged probability of the true class. Damaged images are dropped
    from the split, in place, and named in its `problems`.

    Args:
        net: images (B, C, H, W) -> logits (B, K). Its mode is restored, also after an error.
        classes: K names.
        batch_size: views per forward pass (a dense protocol: two, an image and its mirror image).
        progress: called with (images done, images).

    Raises:
        UsageError: the protocol has no scale for these images, or the network no dense form.
        ConvatlasError: one logit a class was expected, or more than half of the images are damaged.
    """
    protocol = with_scales(protocol, preprocessing)
    start = time.perf_counter()
    found: list[Tensor] = []
    damaged: dict[int, str] = {}
    with evaluating(net), torch.inference_mode():
        score = _scorer(net, protocol, preprocessing, batch_size, torch.device(device))
        for first, shown in _shown(split, protocol, preprocessing):
            damaged |= {first + place: reason for place, reason in enumerate(shown) if isinstance(reason, str)}
            found.append(score([views for views in shown if not isinstance(views, str)]))
            if found[-1].shape[1] != len(classes):
                raise ConvatlasError(f"the network has {found[-1].shape[1]} outputs; expected {len(classes)}")
            if progress is not None:
                progress(first + len(shown), len(split))
    if damaged:
        split.drop(damaged)
    probabilities = torch.cat(found).clone()  # a clone is no inference tensor
    seconds = time.perf_counter() - start
    return _of_probabilities(probabilities, split.labels, classes, seconds, split.problems, describe(protocol))


def average(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Several networks as one: the mean of their probabilities (model averaging).

    Raises:
        UsageError: they did not see the same images with the same classes.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        if other.classes != first.classes or not torch.equal(other.labels, first.labels):
            raise UsageError("the networks to average were not tested on the same images and classes")
    probabilities = torch.stack([found.probabilities.double() for found in evaluations]).mean(dim=0)
    seconds = sum(found.seconds for found in evaluations)
    protocol = f"{len(evaluations)} networks, {' and '.join(dict.fromkeys(found.protocol for found in evaluations))}"
    return _of_probabilities(probabilities, first.labels, first.classes, seconds, first.problems, protocol)


def _of_probabilities(
    probabilities: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    seconds: float,
    problems: Sequence[Problem],
    protocol: str,
) -> Evaluation:
    own = probabilities.gather(1, labels[:, None])
    found = summarise(probabilities, labels, -own.clamp_min(1e-12).log().mean().item(), classes, seconds, problems)
    return replace(found, probabilities=probabilities.float(), protocol=protocol)


def _scorer(
    net: nn.Module, protocol: TestTime, preprocessing: Preprocessing, batch_size: int, device: torch.device
) -> Callable[[list[list[Tensor]]], Tensor]:
    """The views of N images -> their probabilities (N, K) float64, on the CPU."""
    logits = _logits(net, protocol, preprocessing)
    if isinstance(protocol, Dense):
        preprocessing = _without_mean_image(preprocessing)

    def softmax(shown: Tensor) -> Tensor:
        parts = shown.split(batch_size)
        return torch.cat(
            [logits(normalise(part.to(device), preprocessing)).softmax(1).double().cpu() for part in parts]
        )

    def score(images: list[list[Tensor]]) -> Tensor:
        if isinstance(protocol, Dense):  # of all sizes
            return torch.stack([torch.cat([softmax(scale) for scale in shown]).mean(dim=0) for shown in images])
        every = softmax(torch.cat([crops for shown in images for crops in shown]))
        return every.unflatten(0, (len(images), -1)).mean(dim=1)

    return score


def _logits(net: nn.Module, protocol: TestTime, preprocessing: Preprocessing) -> Callable[[Tensor], Tensor]:
    """(B, C, H, W) -> (B, K): the network, or its score map pooled over all positions."""
    if not isinstance(protocol, Dense):
        return net
    dense = score_map(net, (preprocessing.channels, *preprocessing.size))
    pool = torch.mean if protocol.pool == "mean" else torch.amax
    return lambda batch: pool(dense(batch), dim=(2, 3))


def _without_mean_image(preprocessing: Preprocessing) -> Preprocessing:
    """For images of any size: the mean image gives its mean colour."""
    if preprocessing.mean_image is None:
        return preprocessing
    colour = unpack_mean_image(preprocessing).mean(dim=(1, 2))
    return replace(preprocessing, mean_image=None, mean=tuple(colour.tolist()))


def _shown(
    split: Split, protocol: TestTime, preprocessing: Preprocessing
) -> Iterator[tuple[int, list[list[Tensor] | str]]]:
    """(index of the first, views of some images), in order; of a damaged image the reason."""

    def read(index: int) -> list[Tensor] | str:
        try:
            image = split.read(index)
        except ConvatlasError as error:
            return str(error.__cause__ or error)
        return views(image, protocol, preprocessing)

    with ThreadPoolExecutor(max_workers=2) as pool:
        for first in range(0, len(split), _TOGETHER):
            yield first, list(pool.map(read, range(first, min(first + _TOGETHER, len(split)))))
