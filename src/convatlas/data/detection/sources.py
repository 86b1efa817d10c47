"""From what a person types after `--data` to images with objects, whatever format marks them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convatlas.data.depths import settle
from convatlas.data.detection.annotations import Fault, judge, occurring
from convatlas.data.detection.recognise import FORMS, open_source
from convatlas.data.detection.split import DetectionData, DetectionSplit
from convatlas.data.division import Division, divide
from convatlas.errors import ConvatlasError, UsageError

_ORDER = ("train", "val", "trainval", "test")


@dataclass(frozen=True)
class _Chosen:
    """Which splits of a source serve for what."""

    train: DetectionSplit
    val: DetectionSplit | None
    test: DetectionSplit | None


def open_detection(
    spec: str,
    *,
    test: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    division: Division | None = None,
    classes: Sequence[str] | None = None,
    masks: bool = False,
    select_on: str | None = None,
) -> DetectionData:
    """A data set of annotated images by its place.

    Args:
        spec: a folder or a file: VOC's layout or loose XML, COCO's JSON, YOLO's texts, a CSV, or a tool's JSON.
        test: another spec, whose test split (or whole, where it has no splits) becomes the test split.
        test_fraction: of the images, where the source has no test split; stratified by each one's rarest class.
        seed: chooses these images. What was chosen is the result's `division`, to be written down.
        division: chosen before, and used again where the source has no test split.
        classes: their names in the order of a network's outputs; images with objects of others are named and left out.
        masks: read COCO's segmentations too.
        select_on: "val" or "test": the split to test on, with all others for training. By default "test" where objects
            are annotated on it, and then "val" is for choosing; else "val" is the test split.

    Raises:
        UsageError: no such path, or no data of a known format there.
        ConvatlasError: what was found can't be used; the message says why.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected a number between 0 and 1")
    found, names = parts(spec, classes=classes, masks=masks)
    others = None if test is None else parts(test, classes=names, masks=masks)[0]
    if others is not None:
        settle((*found.values(), *others.values()))
    return _arrange(spec, found, names, _Wish(test, others, test_fraction, seed, division, select_on))


def find_refusal(found: Mapping[str, DetectionSplit], names: tuple[str, ...], spec: str) -> str | None:
    """The sentence with which `open_detection` refuses what `parts` gave as data to train on; None where it does not.

    Args:
        found: splits by name.
        names: of the classes.
        spec: where they lie.
    """
    try:
        _arrange(spec, found, names, _Wish())
    except ConvatlasError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class _Wish:
    """The arguments of `open_detection` that say what is tested on."""

    test: str | None = None
    others: Mapping[str, DetectionSplit] | None = None  # the splits of `test`
    test_fraction: float = 0.2
    seed: int = 0
    division: Division | None = None
    select_on: str | None = None


def _arrange(spec: str, found: Mapping[str, DetectionSplit], names: tuple[str, ...], wish: _Wish) -> DetectionData:
    source, test, select_on = spec, wish.test, wish.select_on
    if select_on is not None and select_on not in found:
        raise UsageError(f"{spec} has no part {select_on!r}; expected one of {', '.join(found)}")
    chosen = _choose(found, select_on)
    trained, val, tested, made = chosen.train, chosen.val, chosen.test, None
    if wish.others is not None:
        others = wish.others
        order = [part for part in ("test", "val", "train", "trainval") if part in others]
        tested = others[next((part for part in order if _is_marked(others[part])), order[0])]
        source = f"{spec}; test: {test}"
    is_same = test is not None and os.path.realpath(test) == os.path.realpath(spec)
    if not len(trained) and not is_same and not trained.problems:
        raise ConvatlasError(f"{spec} has the parts {', '.join(found)}; expected one for training")
    if not is_same:
        _refuse_losses(trained, "training", source)
    if tested is None:
        made = wish.division or divide(trained, test_fraction=wish.test_fraction, seed=wish.seed)
        problems = trained.problems
        trained, tested = made.apply(trained)
        trained.problems.extend(problems)
    elif not is_same:
        trained, val = _keep_apart(trained, val, tested, source)
    _refuse_losses(tested, "test", source)
    for part, split in (("test", tested),) if is_same else (("train", trained), ("test", tested)):
        if not _is_marked(split):
            problem = next(iter(split.problems), None)
            first = f"; the first problem: {problem.path}: {problem.reason}" if problem else ""
            raise ConvatlasError(f"no object is marked on the {part} images of {source}; expected at least one{first}")
    name = Path(spec).expanduser().resolve().stem
    val = val if val is not None and len(val) else None
    serves = test is None and select_on is None and tested is not None and tested is found.get("val")
    return DetectionData(name, trained, tested, names, source, made, val, serves)


def parts(
    spec: str, *, classes: Sequence[str] | None = None, masks: bool = False
) -> tuple[dict[str, DetectionSplit], tuple[str, ...]]:
    """What a source holds, "train" first where it has one, and its classes.

    Raises:
        UsageError: no such path, or no data of a known format there.
        ConvatlasError: an annotation file can't be used.
    """
    path = Path(spec).expanduser()
    if "\0" in spec or not os.path.exists(path):
        raise UsageError(f"data {spec!r} does not exist; expected {FORMS}")
    try:
        source = open_source(path)
    except OSError as error:
        raise UsageError(f"data {error.filename or spec} can't be read: {error.strerror or error}") from error
    names = tuple(classes) if classes is not None else source.classes or occurring(source.parts.values())
    if not names:
        first = next((fault for part in source.parts.values() for fault in part.faults), None)
        first = first or next((f for part in source.parts.values() for page in part.pages for f in page.faults), None)
        reason = f"; the first problem: {first.path}: {first.reason}" if first else ""
        raise ConvatlasError(f"{spec} has no objects; expected images with boxes{reason}")
    splits = {}
    for name in sorted(source.parts, key=_ORDER.index):
        found = judge(source.parts[name], names, masks=masks)
        splits[name] = DetectionSplit(
            found.pages, found.faults, masks=masks, left_out=found.left_out, notes=found.notes
        )
    settle(splits.values())
    return splits, names


def _choose(found: Mapping[str, DetectionSplit], select_on: str | None) -> _Chosen:
    """The splits by what they are for; an empty one for training where there is none."""
    held_out = select_on or next((part for part in ("test", "val") if _is_marked(found.get(part))), None)
    if select_on == "test":
        whole = [found[part] for part in (("trainval",) if "trainval" in found else ("train", "val")) if part in found]
        return _Chosen(_join(whole), None, found["test"])
    train = next((found[part] for part in ("train", "trainval") if part in found), DetectionSplit([]))
    tested = found[held_out] if held_out is not None else None
    val = found.get("val") if held_out == "test" and "train" in found and _is_marked(found.get("val")) else None
    return _Chosen(train, val, tested)


def _is_marked(split: DetectionSplit | None) -> bool:
    return split is not None and any(len(page.labels) for page in split.pages)


def _refuse_losses(split: DetectionSplit, part: str, source: str) -> None:
    """More than half of the images left out is no data set with some faults."""
    if len(split.left_out) > len(split):
        problem = next(problem for problem in split.problems if isinstance(problem, Fault) and problem.kind in _LEAVING)
        lost = len(split.left_out)
        raise ConvatlasError(
            f"{lost} of {lost + len(split)} {part} images of {source} have an object that can't be used, more than "
            f"half; the first problem: {problem.path}: {problem.reason}"
        )


_LEAVING = ("empty", "reversed", "outside", "not a number", "units", "unknown class", "bad object", "bad mask")


def _keep_apart(
    trained: DetectionSplit, val: DetectionSplit | None, tested: DetectionSplit, source: str
) -> tuple[DetectionSplit, DetectionSplit | None]:
    """Training and validation without the files that a later split has too; these are named in `problems`."""
    trained = _without(trained, [split for split in (val, tested) if split is not None])
    if not len(trained):
        raise ConvatlasError(f"every training image of {source} is in the test split too; expected splits of their own")
    return trained, None if val is None else _without(val, [tested])


def _without(split: DetectionSplit, others: Sequence[DetectionSplit]) -> DetectionSplit:
    taken = {os.path.realpath(path) for other in others for path in other.paths}
    shared = [path for path in split.paths if os.path.realpath(path) in taken]
    if not shared:
        return split
    own = [index for index, path in enumerate(split.paths) if path not in set(shared)]
    kept = split.select(own)
    reason = "is in the validation or test split too; training leaves it out"
    kept.problems.extend([*split.problems, *(Fault(path, reason, "leak") for path in shared)])
    return kept


def _join(splits: Sequence[DetectionSplit]) -> DetectionSplit:
    """One after another, each image once."""
    if len(splits) == 1:
        return splits[0]
    pages = {page.path: page for split in splits for page in split.pages}
    problems = [problem for split in splits for problem in split.problems]
    left_out = [path for split in splits for path in split.left_out]
    joined = DetectionSplit(list(pages.values()), problems, masks=any(s.masks for s in splits), left_out=left_out)
    joined.white = splits[0].white
    return joined
