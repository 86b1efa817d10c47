"""Folders and lists written from short descriptions, and what `data check` and training make of them."""

from collections import Counter
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from convatlas.data import LabelAssembly, Loader, find_refusal, load, open_source
from convatlas.data.check import check
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing

Value = TypeVar("Value")
GREY8 = Preprocessing((8, 8), channels=1, resize="stretch", resize_to=8, mean=(0.0,), std=(1.0,))


def image(seed: int, height: int = 20, width: int = 24) -> Image.Image:
    """Smooth noise, so that no two seeds resemble one another and a copy survives compression."""
    rough = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "png", **how: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def write(root: Path, files: Iterable[str]) -> Path:
    """Files below a folder, each with an image of its own; "a/b/*3.png" are three of them, "x.txt" is text."""
    seed = 0
    for name in files:
        stem, star, count = name.rpartition("*")
        count, suffix = count.split(".", 1) if star else ("1", "")
        for i in range(int(count)):
            path = root / (f"{stem}{i}.{suffix}" if star else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            seed += 1
            path.write_bytes(b"some words" if path.suffix in (".txt", ".md", ".xml", ".db") else encoded(image(seed)))
    return root


class Result(NamedTuple):
    """What was made of a source: images that check counted and training took, by split; or why training refused."""

    counts: dict[str, int]
    taken: dict[str, int]
    classes: tuple[str, ...]
    kinds: Counter[str]  # of findings
    details: str  # of all findings
    refusal: str | None


def look(spec: Path | str) -> Result:
    """Runs `data check` and the loading of `train` over a source, and holds them to one another."""
    source, sentence = _refusal(lambda: open_source(str(spec)))
    if source is None:
        _, again = _refusal(lambda: load(str(spec)))
        assert again == sentence
        return Result({}, {}, (), Counter({"refused": 1}), sentence, sentence)
    parts, classes = source.splits(), source.class_names
    refusal = find_refusal(source, str(spec))
    checked = check(parts, classes, refusal=refusal)
    kinds = Counter(finding.kind for finding in checked.findings)
    details = "\n".join(f"{finding.path}: {finding.detail}" for finding in checked.findings)
    counts = {part: sum(numbers) for part, numbers in checked.counts.items()}
    taken, sentence = _refusal(lambda: _train(spec))
    if taken is None:
        assert checked.harmful, f"train refuses ({sentence}) and check names nothing"
        return Result(counts, {}, classes, kinds, details, sentence)
    assert refusal is None
    assert sum(taken.values()) == sum(counts.values())
    return Result(counts, taken, classes, kinds, details, None)


def _refusal(act: Callable[[], Value]) -> tuple[Value | None, str]:
    try:
        return act(), ""
    except ConvatlasError as error:
        return None, str(error)


def _train(spec: Path | str) -> dict[str, int]:
    """The images that the loaders of a training run give, by split."""
    data = load(str(spec))
    splits = {"train": data.train, "val": data.val, "test": data.test}
    return {
        name: sum(len(batch.labels) for batch in Loader(LabelAssembly(split, GREY8), batch_size=64).epoch(0))
        for name, split in splits.items()
        if split is not None
    }
