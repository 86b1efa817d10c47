"""A segmenter on whole images of any size: one class a pixel, in the image's own size."""

import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.data.preprocess import convert_channels, normalise, resize
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.data.splits import problem_of
from convatlas.errors import ConvatlasError
from convatlas.evaluation.classifier import evaluating
from convatlas.evaluation.segmentation import ConfusionMeter, summarise
from convatlas.evaluation.tiles import overlap_tile
from convatlas.records import ExportedProgram, Preprocessing, Problem, SegmentationEvaluation, Shape
from convatlas.sizes import Sizes, bare_copy, find_sizes

TILE_BYTES = 2 << 30  # of activations
_LEAST = torch.finfo(torch.float32).tiny  # a probability that rounds to 0 would cost an infinite loss
Refine = Callable[[Tensor, Tensor], Tensor]  # logits (K, H, W) and the image, uint8 -> probabilities (K, H, W)


def output_margin(net: nn.Module, input_shape: Shape) -> int:
    """By how many pixels the output is smaller than the input on each side, found by a pass on `meta`.

    Raises:
        ConvatlasError: the output is no map of (B, K, h, w), or its margins differ.
    """
    with torch.no_grad(), evaluating(net):
        out = bare_copy(net)(torch.empty(1, *input_shape, device="meta"))
    if not isinstance(out, Tensor) or out.ndim != 4:
        raise ConvatlasError("the network gives no map; expected (B, K, h, w)")
    down, right = (side - len_ for side, len_ in zip(input_shape[1:], out.shape[2:], strict=True))
    if down != right or down < 0 or down % 2:
        raise ConvatlasError(
            f"the output is {tuple(out.shape[2:])} of {input_shape[1:]}; expected one margin all round"
        )
    return down // 2


class Segmenter:
    """A network with what it needs to look at whole images.

    An image is resized as the preprocessing says, and padded on the right and below to a size that the network takes.
    A network whose output is smaller than its input goes over it in overlapping tiles; one that takes a single size
    only sees the image scaled to it. The logits come back in the image's own size, interpolated bilinearly.
    """

    def __init__(
        self,
        net: nn.Module,
        preprocessing: Preprocessing,
        device: str | torch.device = "cpu",
        refine: Refine | None = None,
        threshold: float | None = None,
    ) -> None:
        self.threshold = threshold  # of two classes the second is taken from this probability on
        self.net, self.preprocessing, self.device, self.refine = net, preprocessing, torch.device(device), refine
        self.input_shape = (preprocessing.channels, *preprocessing.size)

    @cached_property
    def margin_px(self) -> int:
        if isinstance(self.net, ExportedProgram):
            return 0
        return output_margin(self.net, self.input_shape)

    @cached_property
    def sizes(self) -> tuple[Sizes, ...]:
        """The lengths that the network takes along each axis."""
        if isinstance(self.net, ExportedProgram):
            return tuple(Sizes(side, side) for side in self.preprocessing.size)
        with evaluating(self.net):
            found = find_sizes(self.net, self.input_shape)
        if None in found:
            raise ConvatlasError(f"the network does not take its own input {self.input_shape}")
        return found  # pyright: ignore[reportReturnType]

    @property
    def protocol(self) -> str:
        """How an image is looked at, in words."""
        return f"{self._view}, fully connected CRF" if self.refine is not None else self._view

    @property
    def _view(self) -> str:
        if self._fixed:
            return "whole image, scaled to {} x {}".format(*self.preprocessing.size)
        if self.margin_px:
            return "overlapping tiles, mirrored borders"
        resized = self.preprocessing.resize != "none"
        return f"whole image, short side {self.preprocessing.resize_to}" if resized else "whole image"

    @property
    def _fixed(self) -> bool:
        return all(axis.smallest == axis.largest for axis in self.sizes)

    def decide(self, logits: Tensor) -> Tensor:
        """(K, H, W) -> (H, W) int64: each pixel's most probable class, or of two the one that the threshold says."""
        if self.threshold is None:
            return logits.argmax(dim=0)
        return (logits.softmax(dim=0)[1] >= self.threshold).long()

    @torch.inference_mode()
    def logits(self, image: Tensor) -> Tensor:
        """uint8 (C, H, W) -> (K, H, W) float32 on the network's device, in eval mode; refined, log-probabilities."""
        original, (height, width) = image, image.shape[1:]
        image = convert_channels(image, self.preprocessing.channels)
        if self._fixed:
            scaled = F.interpolate(image[None], self.preprocessing.size, mode="bilinear", antialias=True)[0]
        else:
            scaled = resize(image, self.preprocessing)
        h, w = scaled.shape[1:]
        batch = normalise(scaled[None].to(self.device), self.preprocessing)
        if self.margin_px:
            out = overlap_tile(self.net, batch, self.input_shape, memory_bytes=TILE_BYTES).float()
        else:
            down, right = (next_length(n, axis) - n for n, axis in zip((h, w), self.sizes, strict=True))
            out = self.net(F.pad(batch, (0, right, 0, down)))[:, :, :h, :w].float()
        if (h, w) != (height, width):
            out = F.interpolate(out, (height, width), mode="bilinear", align_corners=False)
        if self.refine is None:
            return out[0]
        probabilities = self.refine(out[0].cpu(), original)
        return probabilities.clamp_min(_LEAST).log().to(self.device)


def next_length(length: int, sizes: Sizes) -> int:
    """The least length of at least `length` that is among the sizes.

    Raises:
        ConvatlasError: there is none.
    """
    steps = max(0, math.ceil((length - sizes.smallest) / sizes.step))
    found = sizes.smallest + steps * sizes.step
    if sizes.largest is not None and found > sizes.largest:
        raise ConvatlasError(f"a side of {length} pixels is too long for the network, which takes {sizes}")
    return found


def evaluate_segmenter(
    net: nn.Module,
    split: MaskSplit,
    preprocessing: Preprocessing,
    *,
    classes: Sequence[str],
    loss: Callable[[Tensor, Tensor], Tensor],
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    refine: Refine | None = None,
    threshold: float | None = None,
    share: tuple[int, int] = (0, 1),
    gather: Callable[[Tensor], Tensor] | None = None,
    on_image: Callable[[int, Tensor, Tensor, Tensor], Any] | None = None,
) -> SegmentationEvaluation:
    """Every image of a split, whole and in its own size; damaged ones are named in the result and left out.

    Args:
        net: a segmenter. Its mode is restored.
        classes: K names.
        loss: (logits, masks) -> the mean over the batch; it knows void.
        progress: called with (images done, images).
        refine: what is done to the logits of each image, such as a CRF.
        threshold: of two classes the second is taken from this probability on; None: the more probable.
        share: (rank, processes): this process takes every so many-th image.
        gather: each process's rows (n, ...) -> everybody's (N, ...).
        on_image: called with (index, image, predicted classes (H, W), mask (H, W)).
    """
    segmenter, meter = Segmenter(net, preprocessing, device, refine, threshold), ConfusionMeter(len(classes))
    problems: list[Problem] = []
    total, count, start = 0.0, 0, time.perf_counter()
    mine = range(share[0], len(split), share[1])
    with evaluating(net), torch.inference_mode():
        for done, index in enumerate(mine, start=1):
            try:
                image, mask = split.read_pair(index)
            except ConvatlasError as error:
                problems.append(problem_of(split.name(index), error))
                continue
            logits, truth = segmenter.logits(image), mask.long().to(device)
            predicted = segmenter.decide(logits)
            meter.add(predicted[None], truth[None])
            total += loss(logits[None], truth[None]).item()
            count += 1
            if on_image is not None:
                on_image(index, image, predicted.cpu(), mask)
            if progress is not None:
                progress(done, len(mine))
    confusion = meter.confusion
    if gather is not None:
        confusion = gather(confusion[None].to(device)).sum(0).cpu()
        total, count = gather(torch.tensor([[total, count]], dtype=torch.float64, device=device)).sum(0).tolist()
    if count == 0:
        first = f"; the first: {problems[0].reason}" if problems else ""  # another process may have met them
        raise ConvatlasError(f"none of the {len(split)} test images can be read{first}")
    seconds = time.perf_counter() - start
    found = (*split.problems, *(problem for problem in problems if problem not in split.problems))
    at = "" if threshold is None else f", {classes[1]} from probability {threshold:g} on"
    return summarise(confusion, total / count, classes, seconds, found, segmenter.protocol + at)
