"""Data sets of annotated images: each carries a mask, objects or joints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from convatlas.data.data_set import DataSet
from convatlas.data.depths import settle
from convatlas.data.detection.sources import open_detection
from convatlas.data.division import divide
from convatlas.data.pose.annotations import read_people_parts
from convatlas.data.pose.people import PeopleSplit
from convatlas.data.request import DataRequest
from convatlas.data.segmentation.classes import MaskClasses
from convatlas.data.segmentation.folders import LAYOUTS, read_masks
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.errors import ConvatlasError, UsageError
from convatlas.records import Problem

T = TypeVar("T")
AnySplit = TypeVar("AnySplit", MaskSplit, PeopleSplit)
_EXPECTED = {"segmentation": LAYOUTS, "pose": "a folder of images and annotations of people"}


@dataclass(frozen=True)
class OpenedMasks:
    """A folder of images and masks: its splits by name, "train" first, its classes, and what should be known of it."""

    parts: Mapping[str, MaskSplit]
    classes: MaskClasses
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Opened(Generic[AnySplit]):
    """A source: its splits by name, its classes, and what should be known of it."""

    parts: Mapping[str, AnySplit]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def held_out(self) -> AnySplit | None:
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


def _segmentation(spec: str) -> _Opened[MaskSplit]:
    found = open_masks(spec)
    return _Opened(found.parts, found.classes.names, found.classes.colours, found.notes)


def _pose(spec: str) -> _Opened[PeopleSplit]:
    return _Opened(*open_people(spec))


def load_masks(request: DataRequest) -> DataSet:
    """Images with masks; arguments and errors are those of `data.load`."""
    return _load(request, _segmentation)


def load_people(request: DataRequest) -> DataSet:
    """People with their joints; arguments and errors are those of `data.load`."""
    return _load(request, _pose)


def load_boxes(request: DataRequest) -> DataSet:
    """Images with objects; arguments and errors are those of `data.load`."""
    found = open_detection(
        request.spec,
        test=request.test,
        test_fraction=request.test_fraction,
        seed=request.seed,
        division=request.division,
        masks=request.masks,
    )
    if request.masks and not any(page.segments for split in (found.train, found.test) for page in split.pages):
        raise ConvatlasError(
            f"{request.spec} has boxes without masks; expected segmentations, as COCO's .json has them"
        )
    return DataSet(**vars(found))


def _load(request: DataRequest, read: Callable[[str], _Opened[AnySplit]]) -> DataSet:
    spec, test = request.spec, request.test
    opened = read(spec)
    other = opened if test is None or test == spec else read(test)
    if other is not opened:
        settle((*opened.parts.values(), *other.parts.values()))
    if other.classes != opened.classes:
        raise ConvatlasError(f"{test} has classes {other.classes}; expected those of {spec}, {opened.classes}")
    return _arrange(request, opened, other)


def find_refusal(parts: Mapping[str, AnySplit], spec: str) -> str | None:
    """The sentence with which `load` refuses masks or people as data to train on; None where it does not.

    Args:
        parts: as `open_masks` or `open_people` give them.
        spec: where they lie.
    """
    opened = _Opened(parts, ())
    try:
        _arrange(DataRequest(spec), opened, opened)
    except ConvatlasError as error:
        return str(error)
    return None


def _arrange(request: DataRequest, opened: _Opened[AnySplit], other: _Opened[AnySplit]) -> DataSet:
    spec, test = request.spec, request.test
    source = spec if test is None else f"{spec}; test: {test}"
    train, held_out, val = opened.parts.get("train"), opened.held_out, opened.parts.get("val")
    if test is not None:
        held_out = other.held_out or other.parts["train"]
    if train is None and test != spec:
        raise ConvatlasError(f"{spec} has the splits {', '.join(opened.parts)}; expected one for training")
    if train is None:
        assert held_out is not None  # of data that are to be evaluated
        train = held_out.select([])
    train.problems.extend(Problem(spec, note) for note in opened.notes)
    made = None
    if held_out is None:
        made = request.division or divide(train, test_fraction=request.test_fraction, seed=request.seed)
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
