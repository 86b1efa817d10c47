"""The most probable classes of pictures; a damaged picture is listed, and the rest goes on."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from convatlas.data import decode, normalise, prepare
from convatlas.inference.pictures import find_pictures
from convatlas.inference.source import Source
from convatlas.structures import ConvatlasError, Prediction, Preprocessing, Problem, UsageError


def predict(
    source: Source,
    paths: Iterable[str | Path],
    *,
    top_k: int = 5,
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Prediction], list[Problem]]:
    """Predictions in the order of the pictures, and what could not be read.

    Args:
        source: from `open_source`.
        paths: files, folders (searched recursively) and patterns.
        on_progress: called with (pictures done, pictures in all) after each batch.

    Raises:
        UsageError: top_k or batch_size below 1.
    """
    for argument, value in (("top_k", top_k), ("batch_size", batch_size)):
        if value < 1:
            raise UsageError(f"{argument} is {value}; expected at least 1")
    files, problems = find_pictures(paths)
    predictions: list[Prediction] = []
    net = source.net.eval().to(device)
    with torch.inference_mode(), ThreadPoolExecutor(max_workers=4) as pool:
        for start in range(0, len(files), batch_size):
            chunk = files[start : start + batch_size]
            read = list(pool.map(lambda path: read_prepared(path, source.preprocessing), chunk))
            problems += [item for item in read if isinstance(item, Problem)]
            good = [(path, item) for path, item in zip(chunk, read, strict=True) if isinstance(item, Tensor)]
            if good:
                batch = torch.stack([picture for _, picture in good]).to(device)
                logits = net(normalise(batch, source.preprocessing))
                predictions += rank([path for path, _ in good], logits, source.classes, top_k)
            if on_progress is not None:
                on_progress(start + len(chunk), len(files))
    return predictions, problems


def read_prepared(path: Path, preprocessing: Preprocessing) -> Tensor | Problem:
    """The picture as uint8 (C, H, W) in the network's size, or why not."""
    try:
        return prepare(decode(path), preprocessing)
    except (ConvatlasError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip() or type(error).__name__
        return Problem(str(path), reason.removeprefix(f"{path}: "))


def rank(paths: list[Path], logits: Tensor, classes: tuple[str, ...], top_k: int) -> list[Prediction]:
    """The softmax of logits (B, K), most probable first."""
    values, indices = logits.float().softmax(dim=1).topk(min(top_k, logits.shape[1]), dim=1)
    return [
        Prediction(str(path), tuple(classes[i] for i in row), tuple(probabilities))
        for path, row, probabilities in zip(paths, indices.tolist(), values.tolist(), strict=True)
    ]
