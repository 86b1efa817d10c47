"""Prepared images, kept in memory as uint8 where they fit, and read one by one where they don't."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from convatlas.data.decode import image_size
from convatlas.data.encoded import FileSplit
from convatlas.data.preprocess import Framing, needed_side, shape, shaped_size
from convatlas.data.splits import ArraySplit, Split
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing

MEMORY_LIMIT_BYTES = 1 << 30
Progress = Callable[[int, int], None]  # (done, total)

_TASK = 32  # images a thread takes at once


def threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fits(split: Split, preprocessing: Preprocessing, *, framing: Framing, limit_bytes: int) -> bool:
    """Whether all prepared images fit into `limit_bytes`; for files that keep their aspect the headers are read."""
    height, width = preprocessing.size
    if framing != "whole" and isinstance(split, FileSplit):
        return _files_fit(split, preprocessing, framing, limit_bytes)
    if isinstance(split, ArraySplit):
        height, width = shaped_size(split.images.shape[2], split.images.shape[3], preprocessing, framing)
    return len(split) * preprocessing.channels * height * width <= limit_bytes


def _files_fit(split: FileSplit, preprocessing: Preprocessing, framing: Framing, limit_bytes: int) -> bool:
    total = 0
    for path in split.paths:
        try:
            height, width = shaped_size(*image_size(path), preprocessing, framing)
        except ConvatlasError:
            continue  # will be named when it is decoded
        total += preprocessing.channels * height * width
        if total > limit_bytes:
            return False
    return True


def prepare_all(
    split: Split, preprocessing: Preprocessing, *, framing: Framing, on_progress: Progress | None
) -> Tensor | list[Tensor]:
    """All images, prepared: uint8 (N, C, H, W), or a list of (C, H, W) where the sizes differ.

    Damaged images are dropped from the split and named in its `problems`.

    Raises:
        ConvatlasError: more than half of the images are damaged.
    """
    if isinstance(split, ArraySplit):
        return torch.cat([shape(part, preprocessing, framing) for part in split.images.split(1024)])
    side = needed_side(preprocessing, framing)
    survey = _survey(split, side, lambda image: shape(image, preprocessing, framing).contiguous(), on_progress)
    if framing != "whole":
        images = list(survey)
        return torch.stack(images) if len({source_image.shape for source_image in images}) == 1 else images
    stack = torch.empty(len(split), preprocessing.channels, *preprocessing.size, dtype=torch.uint8)
    for place, source_image in enumerate(survey):
        stack[place] = source_image
    return stack[: len(split)]  # shorter by now where images were dropped


def check_all(split: Split, on_progress: Progress | None) -> None:
    """Decodes every image, as small as may be, and drops the damaged ones: for those that are read later."""
    for _ in _survey(split, 1, lambda image: None, on_progress):
        pass


def _survey(
    split: Split, short_side: int | None, keep: Callable[[Tensor], Tensor | None], on_progress: Progress | None
) -> Iterator:
    """`keep(image)` of every whole image in order; at the end the damaged ones are dropped from the split."""
    n = len(split)
    reasons: dict[int, str] = {}

    def work(first: int) -> list:
        results = []
        for index in range(first, min(first + _TASK, n)):
            try:
                image = split.read(index, short_side)
            except ConvatlasError as error:
                reasons[index] = str(error.__cause__ or error)
                continue
            results.append(keep(image))
        return results

    pool = ThreadPoolExecutor(threads())  # decoding and resizing release the interpreter's lock
    try:
        for first, results in zip(range(0, n, _TASK), pool.map(work, range(0, n, _TASK)), strict=True):
            yield from results
            if on_progress is not None:
                on_progress(min(first + _TASK, n), n)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run ends at once
    if reasons:
        split.drop(reasons)
