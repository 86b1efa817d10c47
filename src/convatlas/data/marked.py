"""Data for the tasks beside classification: images that carry a mask, joints or boxes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from convatlas.data.dense.classes import MaskClasses
from convatlas.data.dense.folders import LAYOUTS, read_masks
from convatlas.data.dense.splits import MaskSplit
from convatlas.data.depths import settle
from convatlas.data.detection.sources import open_detection
from convatlas.data.division import Division, divide
from convatlas.data.pose.annotations import read_people_parts
from convatlas.data.pose.people import PeopleSplit
from convatlas.data.splits import DataSet
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Problem

T = TypeVar("T")
_EXPECTED = {"segmentation": LAYOUTS, "pose": "a folder of images and annotations of people"}


@dataclass(frozen=True)
class OpenedMasks:
    """A folder of images and masks: its splits by name, "train" first, its classes, and what should be known of it."""

    parts: Mapping[str, MaskSplit]
    classes: MaskClasses
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Opened:
    """A source: its splits by name, its classes, and what should be known of it."""

    parts: Mapping[str, Any]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def held_out(self) -> Any:
        """The test split, or the one that serves as it; None where there is none."""
        return self.parts.get("test") or self.parts.get("val")


def open_masks(spec: str) -> OpenedMasks:
    """A folder of images and masks, as `data check` and training read it.

    Raises:
        UsageError: no such folder.
        ConvatlasError: what is there can't be used; the message says why.
    """
    found = _read(spec, "segmentation", read_masks)
    settle(found.parts.values())
    return OpenedMasks(found.parts, found.classes, found.notes)


def open_people(spec: str) -> tuple[Mapping[str, PeopleSplit], tuple[str, ...]]:
    """Annotations of people, as `data check` and training read them: splits by name, and the names of the joints."""
    found, joints = _read(spec, "pose", read_people_parts)
    settle(found.values())
    return found, joints


def _segmentation(spec: str) -> _Opened:
    found = open_masks(spec)
    return _Opened(found.parts, found.classes.names, found.classes.colours, found.notes)


def _pose(spec: str) -> _Opened:
    return _Opened(*open_people(spec))


READERS: dict[str, Callable[[str], _Opened]] = {"segmentation": _segmentation, "pose": _pose}


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
        if masks and not any(page.segments for split in (found.train, found.test) for page in split.pages):
            raise ConvatlasError(f"{spec} has boxes without masks; expected segmentations, as COCO's .json has them")
        return DataSet(**vars(found))
    opened = READERS[task](spec)
    other = opened if test is None or test == spec else READERS[task](test)
    if other is not opened:
        settle((*opened.parts.values(), *other.parts.values()))
    if other.classes != opened.classes:
        raise ConvatlasError(f"{test} has classes {other.classes}; expected those of {spec}, {opened.classes}")
    return _arrange(spec, opened, other, _Wish(test, test_fraction, seed, division))


def find_refusal(parts: Mapping[str, Any], spec: str) -> str | None:
    """The sentence with which `load` refuses masks or people as data to train on; None where it does not.

    Args:
        parts: as `open_masks` or `open_people` give them.
        spec: where they lie.
    """
    opened = _Opened(parts, ())
    try:
        _arrange(spec, opened, opened, _Wish())
    except ConvatlasError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class _Wish:
    """The arguments of `load` that say what is tested on."""

    test: str | None = None
    test_fraction: float = 0.2
    seed: int = 0
    division: Division | None = None


def _arrange(spec: str, opened: _Opened, other: _Opened, wish: _Wish) -> DataSet:
    test = wish.test
    source = spec if test is None else f"{spec}; test: {test}"
    train, held_out, val = opened.parts.get("train"), opened.held_out, opened.parts.get("val")
    if test is not None:
        held_out = other.held_out or other.parts["train"]
    if train is None and test != spec:
        raise ConvatlasError(f"{spec} has the splits {', '.join(opened.parts)}; expected one for training")
    train = held_out.select([]) if train is None else train
    train.problems.extend(Problem(spec, note) for note in opened.notes)
    made = None
    if held_out is None:
        made = wish.division or divide(train, test_fraction=wish.test_fraction, seed=wish.seed)
        problems = train.problems
        train, held_out = made.apply(train)
        train.problems.extend(problems)
    for part, name in ((held_out, "test"),) if test == spec else ((train, "training"), (held_out, "test")):
        if len(part) == 0:
            raise ConvatlasError(f"{spec} has no {name} images; expected at least one")
    serves = test is None and val is not None and val is held_out
    val = None if val is held_out or val is None or len(val) == 0 else val
    name = Path(spec).expanduser().resolve().name
    return DataSet(name, train, held_out, opened.classes, source, made, opened.colours, val, serves)


def _read(spec: str, task: str, reader: Callable[[Path], T]) -> T:
    path = Path(spec).expanduser()
    if "\0" in spec or not path.exists():
        raise UsageError(f"data {spec!r} does not exist; expected {_EXPECTED[task]}")
    try:
        return reader(path)
    except OSError as error:
        raise UsageError(f"data {error.filename or spec} can't be read: {error.strerror or error}") from error
