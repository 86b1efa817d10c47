"""What layers of a network give for images: vectors, a linear probe on them, and the nearest images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from convatlas.data import normalise
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference.backbone import Features, check_layers, features
from convatlas.inference.images import Images, collect_images
from convatlas.inference.predict import check_at_least_one, read_ahead
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import Problem

Pool = Literal["mean", "max", "flatten"]
POOLS = ("mean", "max", "flatten")

__all__ = [
    "POOLS", "Features", "Pool", "Vectors", "check_layers", "extract", "features", "nearest", "pooled", "probe",
    "save_vectors",
]  # fmt: skip


@dataclass(frozen=True)
class Vectors:
    """A row for each image that could be read."""

    paths: tuple[str, ...]
    layers: dict[str, np.ndarray]  # by layer, float32 (N, D)
    problems: tuple[Problem, ...]


def extract(
    source: TrainedNetwork,
    images: Images,
    layers: Sequence[str],
    *,
    pool: Pool = "mean",
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Vectors:
    """The outputs of layers for images. Maps are averaged ("mean"), their maximum is taken, or they are flattened.

    Raises:
        UsageError: an unknown layer or pool, or a batch size below 1.
        ConvatlasError: no image can be read.
    """
    check_at_least_one(batch_size=batch_size)
    if pool not in POOLS:
        raise UsageError(f"pool is {pool!r}; expected {', '.join(POOLS)}")
    net = features(source.net.eval().to(device), layers)
    readable, problems = collect_images(images)
    found: list[str] = []
    rows: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    waiting: list[Tensor] = []

    def run() -> None:
        batch = normalise(torch.stack(waiting).to(device), source.preprocessing)
        for layer, output in net(batch).items():
            rows[layer].append(pooled(output, pool).float().cpu())
        waiting.clear()

    with torch.inference_mode():
        for count, (path, image) in enumerate(read_ahead(readable, source.preprocessing, ahead=2 * batch_size), 1):
            if isinstance(image, Problem):
                problems.append(image)
            else:
                found.append(path)
                waiting.append(image)
            if len(waiting) == batch_size:
                run()
            if on_progress is not None:
                on_progress(count, len(readable))
        if waiting:
            run()
    if not found:
        reason = f": {problems[0].path}: {problems[0].reason}" if problems else ""
        raise ConvatlasError(f"no image can be read{reason}")
    return Vectors(tuple(found), {layer: torch.cat(parts).numpy() for layer, parts in rows.items()}, tuple(problems))


def pooled(output: Tensor, pool: Pool) -> Tensor:
    """(B, C, ...) -> (B, C) by the mean or the maximum of each map, or (B, all) flattened"""
    if output.ndim <= 2 or pool == "flatten":
        return output.flatten(1)
    maps = output.flatten(2)
    return maps.mean(2) if pool == "mean" else maps.amax(2)


def save_vectors(vectors: Vectors, path: str | Path) -> None:
    """As .npz (`paths`, and an array a layer) or .parquet (`path`, and a list column a layer).

    Raises:
        UsageError: another ending.
        ConvatlasError: pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {"paths": np.array(vectors.paths), **vectors.layers}
        with path.open("wb") as file:
            np.savez(file, **arrays)
        return
    if path.suffix != ".parquet":
        raise UsageError(f"out is {str(path)!r}; expected a name that ends in .npz or .parquet")
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConvatlasError("pyarrow is not installed; get it: pip install 'convatlas[data]'") from error
    columns: dict[str, Any] = {"path": list(vectors.paths)}
    for layer, rows in vectors.layers.items():
        columns[layer] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), rows.shape[1])
    parquet.write_table(pyarrow.table(columns), path)


def probe(vectors: np.ndarray, labels: Sequence[str], test: Sequence[bool], kind: Literal["svm", "logistic"]) -> float:
    """The accuracy on the test rows of a linear classifier that was fitted to the others.  (N, D), N labels -> 0..1

    Raises:
        UsageError: an unknown kind.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    kinds = {"svm": LinearSVC(C=0.01, max_iter=5000), "logistic": LogisticRegression(C=0.1, max_iter=2000)}
    if kind not in kinds:
        raise UsageError(f"probe is {kind!r}; expected {' or '.join(kinds)}")
    held, names = np.array(test), np.array(labels)
    classifier = make_pipeline(StandardScaler(), kinds[kind])
    classifier.fit(vectors[~held], names[~held])
    return float(classifier.score(vectors[held], names[held]))


def nearest(vectors: np.ndarray, one: np.ndarray, count: int) -> list[tuple[int, float]]:
    """(row, cosine similarity) of the rows most like `one`, most like first.  (N, D), (D,)"""
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(one)
    likeness = vectors @ one / np.maximum(norms, np.finfo(np.float32).tiny)
    return [(int(row), float(likeness[row])) for row in np.argsort(-likeness, kind="stable")[:count]]
