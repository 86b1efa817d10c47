"""Prepared images, kept in memory as uint8 where they fit, and read one by one where they don't."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from convatlas.data.decode import image_size
from convatlas.data.encoded import FileSplit
from convatlas.data.preprocess import Framing, needed_side, shape, shaped_size
from convatlas.data.splits import ArraySplit, Loadable, Split, problem_of
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing

MEMORY_LIMIT_BYTES = 1 << 30
Progress = Callable[[int, int], None]  # (done, total)

T = TypeVar("T")
_TASK = 32  # images a thread takes at once
_BLOCK_BYTES = 64 << 20


def threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fits(split: Split, preprocessing: Preprocessing, *, framing: Framing, limit_bytes: int) -> bool:
    """Whether all prepared images fit into `limit_bytes`; for files that keep their aspect the headers are read."""
    height, width = preprocessing.size
    if framing != "whole" and isinstance(split, FileSplit):

        def bytes_of(height: int, width: int) -> int:
            return preprocessing.channels * math.prod(shaped_size(height, width, preprocessing, framing))

        return files_fit(split.paths, bytes_of, limit_bytes)
    if isinstance(split, ArraySplit):
        height, width = shaped_size(split.images.shape[2], split.images.shape[3], preprocessing, framing)
    return len(split) * preprocessing.channels * height * width <= limit_bytes


def files_fit(paths: Iterable[str], bytes_of: Callable[[int, int], int], limit_bytes: int) -> bool:
    """Whether there are images, and `bytes_of(H, W)` of all fit into `limit_bytes`, by their headers."""
    total = 0
    for path in paths:
        try:
            total += bytes_of(*image_size(path))
        except ConvatlasError:
            continue  # will be named when it is decoded
        if total > limit_bytes:
            return False
    return total > 0


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
    prepared = survey(
        split, lambda index: shape(split.read(index, side), preprocessing, framing).contiguous(), on_progress
    )
    if framing != "whole":
        images = list(prepared)
        return torch.stack(images) if len({image.shape for image in images}) == 1 else images
    stack = torch.empty(len(split), preprocessing.channels, *preprocessing.size, dtype=torch.uint8)
    for place, image in enumerate(prepared):
        stack[place] = image
    return stack[: len(split)]  # shorter by now where images were dropped


def check_all(split: Loadable, read: Callable[[int], object], on_progress: Progress | None) -> None:
    """Reads every sample, and drops the damaged ones: for those that are read again later.

    Raises:
        ConvatlasError: more than half of the images are damaged.
    """

    def look(index: int) -> None:
        read(index)

    for _ in survey(split, look, on_progress):
        pass


def survey(split: Loadable, read: Callable[[int], T], on_progress: Progress | None) -> Iterator[T]:
    """`read(index)` of every whole sample in order; at the end the damaged ones are dropped from the split.

    Raises:
        ConvatlasError: more than half of the images are damaged.
    """
    n = len(split)
    reasons: dict[int, str] = {}

    def work(first: int) -> list[T]:
        results = []
        for index in range(first, min(first + _TASK, n)):
            try:
                results.append(read(index))
            except ConvatlasError as error:
                reasons[index] = problem_of(split.name(index), error).reason
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


class Kept:
    """Images of any size in a few blocks of memory: each would be a file by itself on its way to a worker process.

    Args:
        tensors: uint8.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        self._blocks: list[Tensor] = []
        self._used = 0  # bytes of the last block
        self._places: list[tuple[int, int, torch.Size]] = []  # block, first byte, shape
        for tensor in tensors:
            self.append(tensor)

    def append(self, tensor: Tensor) -> None:
        size = tensor.numel()
        if not self._blocks or self._used + size > len(self._blocks[-1]):
            self._blocks.append(torch.empty(max(size, _BLOCK_BYTES), dtype=torch.uint8))
            self._used = 0
        self._places.append((len(self._blocks) - 1, self._used, tensor.shape))
        self._used += size
        self[len(self) - 1].copy_(tensor)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Tensor:
        block, first, shape = self._places[index]
        return self._blocks[block][first : first + shape.numel()].view(shape)
