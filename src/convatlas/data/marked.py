"""Data for the tasks beside classification: pictures that carry a mask, joints or boxes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas.data.dense.folders import read_masks_folder
from convatlas.data.detection.sources import open_detection
from convatlas.data.division import Division, divide
from convatlas.data.pose.annotations import read_people
from convatlas.data.splits import DataSet
from convatlas.structures import ConvatlasError, UsageError


@dataclass(frozen=True)
class Opened:
    """A source: its training part, its test part or None, and its classes."""

    train: Any
    test: Any
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] | None = None


def _segmentation(path: Path) -> Opened:
    train, test, classes = read_masks_folder(path)
    return Opened(train, test, classes.names, classes.colours)


def _pose(path: Path) -> Opened:
    return Opened(*read_people(path))


READERS: dict[str, Callable[[Path], Opened]] = {"segmentation": _segmentation, "pose": _pose}


def load_marked(
    spec: str,
    task: str,
    *,
    test: str | None,
    test_fraction: float,
    seed: int,
    division: Division | None,
    masks: bool = False,
) -> DataSet:
    """A data set of another task than classification; arguments and errors are those of `data.load`."""
    if task == "detection":
        found = open_detection(spec, test=test, test_fraction=test_fraction, seed=seed, division=division, masks=masks)
        if masks and not any(page.segments for page in found.train.pages):
            raise ConvatlasError(f"{spec} has boxes without masks; expected segmentations, as COCO's .json has them")
        return DataSet(**vars(found))
    opened = _open(spec, task)
    train, held_out, source = opened.train, opened.test, spec
    if test is not None:
        other = _open(test, task)
        if other.classes != opened.classes:
            raise ConvatlasError(f"{test} has classes {other.classes}; expected those of {spec}, {opened.classes}")
        held_out, source = other.test or other.train, f"{spec}; test: {test}"
    made = None
    if held_out is None:
        made = division or divide(train, test_fraction=test_fraction, seed=seed)
        problems = train.problems
        train, held_out = made.apply(train)
        train.problems.extend(problems)
    for part, name in ((train, "training"), (held_out, "test")):
        if len(part) == 0:
            raise ConvatlasError(f"{spec} has no {name} pictures; expected at least one")
    name = Path(spec).expanduser().resolve().name
    return DataSet(name, train, held_out, opened.classes, source, made, opened.colours)


def _open(spec: str, task: str) -> Opened:
    path = Path(spec).expanduser()
    if not path.exists():
        raise UsageError(f"data {spec!r} does not exist; expected a folder of pictures for {task}")
    try:
        return READERS[task](path)
    except OSError as error:
        raise UsageError(f"data {error.filename or spec} can't be read: {error.strerror or error}") from error
