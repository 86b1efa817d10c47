"""The most probable classes of images; a damaged image is listed, and the rest goes on.

Images are decoded in threads ahead of the network, so that neither waits for the other.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from convatlas.data import normalise, prepare
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import engines
from convatlas.inference.engines import Engine
from convatlas.inference.images import Images, Readable, collect_images, read_image
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import Prediction, Preprocessing, Problem

MEASURE_FROM = 200  # images: with fewer, finding the fastest engine takes longer than it saves

Reading = tuple[str, Tensor | Problem]  # where an image comes from, and uint8 (C, H, W) in the network's size


def predict(
    source: TrainedNetwork,
    images: Images,
    *,
    top_k: int = 5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
    on_engine: Callable[[str], None] = lambda _: None,
) -> tuple[list[Prediction], list[Problem]]:
    """Predictions in the order of the images, and what could not be read.

    Args:
        source: from `open_source`.
        images: as for `collect_images`.
        engine: as for `select_engine`.
        on_progress: called with (images done, images in all) after each batch.
        on_engine: told in a few words which engine is built, measured and taken.

    Raises:
        UsageError: top_k or batch_size below 1, or no such engine.
        ConvatlasError: the engine does not work for this network.
    """
    check_at_least_one(top_k=top_k, batch_size=batch_size)
    if engine != "auto":
        engines.check_name(engine)
    readable, problems = collect_images(images)
    predictions: list[Prediction] = []
    if not readable:
        return predictions, problems
    chosen = select_engine(
        source, engine, images=len(readable), batch_size=batch_size, device=device, on_engine=on_engine
    )
    readings = read_ahead(readable, source.preprocessing, ahead=2 * batch_size)
    done = 0
    for found, unread, count in classify(source, chosen, readings, top_k=top_k, batch_size=batch_size):
        predictions += found
        problems += unread
        done += count
        if on_progress is not None:
            on_progress(done, len(readable))
    return predictions, problems


def select_engine(
    source: TrainedNetwork,
    name: str,
    *,
    images: int | None,
    batch_size: int,
    device: str | torch.device = "cpu",
    on_engine: Callable[[str], None] = lambda _: None,
) -> Engine:
    """An engine by its name; "auto" is the fastest on this machine, and on a GPU PyTorch itself.

    What is the fastest is measured from 200 images on, or where their number is unknown (None), and remembered.
    With fewer, what is remembered is taken, or else "fused", which is built in a moment.

    Raises as `engines.build`.
    """
    batch = min(batch_size, images or batch_size)
    shape = (source.preprocessing.channels, *source.preprocessing.size)
    if name == "auto" and torch.device(device).type != "cpu":
        name = "eager"
    if name != "auto":
        return engines.build(name, source.net, shape, batch_size=batch, device=device)
    chosen, choice = engines.choose(
        source.net, source.name, shape, batch_size=batch, on_step=on_engine,
        measure=images is None or images >= MEASURE_FROM,
    )  # fmt: skip
    measured = f", measured {choice.date}" if choice else ""
    on_engine(f"engine {chosen.name}{measured}")
    return chosen


def read_ahead(images: Iterable[Readable], preprocessing: Preprocessing, *, ahead: int) -> Iterator[Reading]:
    """The images in order; up to `ahead` of them are decoded before they are asked for."""
    remaining = iter(images)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:

        def submit(image: Readable) -> tuple[Readable, Future[Tensor | Problem]]:
            return image, pool.submit(read_prepared, image, preprocessing)

        waiting = deque(map(submit, islice(remaining, ahead)))
        try:
            while waiting:
                image, reading = waiting.popleft()
                found = reading.result()
                waiting.extend(map(submit, islice(remaining, 1)))
                yield str(image), found
        finally:
            for _, reading in waiting:
                reading.cancel()


def classify(
    source: TrainedNetwork, engine: Engine, readings: Iterable[Reading], *, top_k: int, batch_size: int
) -> Iterator[tuple[list[Prediction], list[Problem], int]]:
    """Batch after batch: the predictions, what could not be read, and how many images that were."""
    remaining = iter(readings)
    with torch.inference_mode():
        while batch := list(islice(remaining, batch_size)):
            good = [(path, image) for path, image in batch if isinstance(image, Tensor)]
            predictions = []
            if good:
                images = torch.stack([image for _, image in good]).to(engine.device)
                logits = engine.run(normalise(images, source.preprocessing))
                predictions = rank([path for path, _ in good], logits, source.classes, top_k)
            yield predictions, [item for _, item in batch if isinstance(item, Problem)], len(batch)


def read_prepared(image: Readable, preprocessing: Preprocessing) -> Tensor | Problem:
    """The image as uint8 (C, H, W) in the network's size, or why not."""
    try:
        return prepare(read_image(image, preprocessing), preprocessing)
    except (ConvatlasError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip() or type(error).__name__
        return Problem(str(image), reason.removeprefix(f"{image}: "))


def rank(paths: Iterable[str | Path], logits: Tensor, classes: tuple[str, ...], top_k: int) -> list[Prediction]:
    """The softmax of logits (B, K), most probable first."""
    values, indices = logits.float().softmax(dim=1).topk(min(top_k, logits.shape[1]), dim=1)
    return [
        Prediction(str(path), tuple(classes[i] for i in row), tuple(probabilities))
        for path, row, probabilities in zip(paths, indices.tolist(), values.tolist(), strict=True)
    ]


def check_at_least_one(**values: int) -> None:
    """Raises UsageError for a value below 1, with its name."""
    for argument, value in values.items():
        if value < 1:
            raise UsageError(f"{argument} is {value}; expected at least 1")
