"""Where the methods that look at many images take them from."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from convatlas.data import normalise, prepare
from convatlas.errors import ConvatlasError
from convatlas.inference import Source
from convatlas.inference.classes import match_labels
from convatlas.inference.evaluate import load_data
from convatlas.inference.predict import read_prepared
from convatlas.records import Problem
from convatlas.report.seeing.panel import Pool


def open_pool(source: Source, files: Sequence[Path], data: str | None, root: Path | None) -> Pool:
    """The test part of the data that is named, else of the run's own, else the files.

    Raises:
        ConvatlasError: there are none, or the data can't be had.
    """
    if data is None and source.run is None:
        if not files:
            raise ConvatlasError("images are absent: there are none to look at; name files or a data set")
        names = [path.name for path in files]
        return Pool(
            "the images given",
            len(files),
            lambda i: read_prepared(files[i], source.preprocessing),
            None,
            names.__getitem__,
        )
    dataset = load_data(source, data, root)
    test = dataset.test
    match_labels(test, dataset.classes, source, dataset.name)

    def read(index: int) -> Tensor | Problem:
        try:
            found = test.read(index)
            image = found[0] if isinstance(found, tuple) else found  # of a detector's data with its objects
            return prepare(image, source.preprocessing)
        except ConvatlasError as error:
            return Problem(test.name(index), str(error))

    return Pool(f"the test split of {dataset.name}", len(test), read, test.labels, test.name)


def spread(pool: Pool, count: int) -> list[int]:
    """So many indices at equal distances, the first among them; all where the pool has no more."""
    return sorted({round(i * pool.count / count) for i in range(count)}) if pool.count > count else [*range(pool.count)]


def batches(source: Source, pool: Pool, batch_size: int = 32) -> Iterator[tuple[Tensor, list[int]]]:
    """(x (B, C, H, W) ready for the network, indices); an image that can't be read is left out."""
    device = next(source.net.parameters()).device
    for start in range(0, pool.count, batch_size):
        read = [(i, pool.read(i)) for i in range(start, min(start + batch_size, pool.count))]
        good = [(i, image) for i, image in read if isinstance(image, Tensor)]
        if good:
            x = torch.stack([image for _, image in good]).to(device)
            yield normalise(x, source.preprocessing), [i for i, _ in good]
