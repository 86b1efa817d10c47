"""From what a person types after `--data` to images with objects, whatever format marks them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas.data.detection import coco, exports, table, voc, yolo
from convatlas.data.detection.annotations import Fault, Source, judge, occurring
from convatlas.data.detection.split import DetectionData, DetectionSplit
from convatlas.data.division import Division, divide
from convatlas.data.folder import SUFFIXES
from convatlas.data.part_names import part_in, part_of
from convatlas.structures import ConvatlasError, UsageError

_FORMS = (
    "a folder as VOC's (Annotations, ImageSets/Main), a folder of .xml files, COCO's .json or a folder of it, "
    "YOLO's data.yaml or folder, a .csv of boxes, or the .json of LabelMe or CreateML"
)
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
    source = spec
    if select_on is not None and select_on not in found:
        raise UsageError(f"{spec} has no part {select_on!r}; expected one of {', '.join(found)}")
    chosen = _choose(found, select_on)
    trained, val, tested, made = chosen.train, chosen.val, chosen.test, None
    if test is not None:
        others, _ = parts(test, classes=names, masks=masks)
        order = [part for part in ("test", "val", "train", "trainval") if part in others]
        tested = others[next((part for part in order if _is_marked(others[part])), order[0])]
        source = f"{spec}; test: {test}"
    is_same = test is not None and os.path.realpath(test) == os.path.realpath(spec)
    if not len(trained) and not is_same and not trained.problems:
        raise ConvatlasError(f"{spec} has the parts {', '.join(found)}; expected one for training")
    if not is_same:
        _refuse_losses(trained, "training", source)
    if tested is None:
        made = division or divide(trained, test_fraction=test_fraction, seed=seed)
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
    return DetectionData(name, trained, tested, names, source, made, val if val is not None and len(val) else None)


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
        raise UsageError(f"data {spec!r} does not exist; expected {_FORMS}")
    try:
        source = _open(path)
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


def _open(path: Path) -> Source:
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise UsageError(f"data {str(path)!r} is neither a file nor a folder; expected {_FORMS}")
    if voc.is_layout(path):
        return voc.read_layout(path)
    inner = sorted(folder for folder in (*path.glob("VOC*"), *path.glob("VOCdevkit/VOC*")) if voc.is_layout(folder))
    if len(inner) > 1:
        raise UsageError(f"{path} holds {' and '.join(folder.name for folder in inner)}; expected one of them as data")
    if inner:
        return voc.read_layout(inner[0])
    if files := [path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (path / name).is_file()]:
        return yolo.read_yaml(files[0])
    if (path / "obj.names").is_file():
        return yolo.read_darknet(path)
    if contents := _json_files(path):
        return _open_json(contents, path)
    if loose := voc.find_loose(path):
        return voc.read_loose(path, loose)
    if tables := [file for file in sorted((*path.glob("*.csv"), *path.glob("*.tsv"))) if table.is_table(file)]:
        return _open_tables(tables)
    if (path / "classes.txt").is_file() or next(path.glob("**/labels"), None) is not None or _has_texts(path):
        return yolo.read_folders(path)
    raise UsageError(f"folder {str(path)!r} holds no boxes of a known format; expected {_FORMS}")


def _open_file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _open_json({path: exports.load(path)}, path.parent)
    if suffix in (".yaml", ".yml"):
        return yolo.read_yaml(path)
    if suffix in (".csv", ".tsv"):
        return table.read_table(path)
    raise UsageError(f"data {str(path)!r} is a file of another kind; expected {_FORMS}")


def _json_files(folder: Path) -> dict[Path, Any]:
    """What the JSON files of a folder, of `annotations` in it and of its splits' folders hold, where it is of boxes.

    Files that are called as COCO's annotations are taken whatever they hold, so that damage is named.
    """
    homes = [home for home in (folder / "annotations", folder / "Annotations", folder) if home.is_dir()]
    homes += sorted(home for home in folder.iterdir() if home.is_dir() and part_of(home.name))
    files = [file for home in homes for file in sorted(home.glob("*.json")) if not file.name.startswith(".")]
    named = [file for file in files if file.name.startswith("instances") or file.name == "_annotations.coco.json"]
    found: dict[Path, Any] = {}
    for file in named or files:
        try:
            content = exports.load(file)
        except ConvatlasError:
            if named or len(files) == 1:
                raise
            continue
        if named or any(known(content) for known in (coco.is_coco, exports.is_labelme, exports.is_createml)):
            found[file] = content
    return found


def _open_json(contents: Mapping[Path, Any], folder: Path) -> Source:
    if all(exports.is_labelme(content) for content in contents.values()):
        by_part: dict[str, dict[Path, Any]] = {}
        for file, content in contents.items():
            part = part_of(file.parent.name) if file.parent != folder else None
            by_part.setdefault(part or "train", {})[file] = content
        return Source({part: exports.read_labelme(own, folder) for part, own in by_part.items()}, None)
    files = _by_part(contents, folder)
    if all(exports.is_createml(content) for content in contents.values()):
        return Source({part: exports.read_createml(file, contents[file]) for part, file in files.items()}, None)
    read = {part: coco.read_json(file, contents[file]) for part, file in files.items()}
    names = next(iter(read.values()))[1]
    for part, (_, others) in read.items():
        if others != names:
            raise ConvatlasError(
                f"{files[part]} has other categories than {next(iter(files.values()))}; expected the same"
            )
    return Source({part: found for part, (found, _) in read.items()}, names)


def _by_part(files: Sequence[Path] | Mapping[Path, Any], folder: Path) -> dict[str, Path]:
    """Split -> file, by whole words in the file's name or its folder's; a file alone is for training."""
    found: dict[str, Path] = {}
    for file in files:
        inner = part_of(file.parent.name) if file.parent != folder else None
        part = part_in(file.stem) or inner or "train"
        if len(files) == 1:
            part = part if part == "test" and file.parent.name != folder.name else "train"
        if part in found:
            raise UsageError(f"{found[part]} and {file} are both the {part} part; expected one of them as data")
        found[part] = file
    return found


def _open_tables(files: Sequence[Path]) -> Source:
    if len(files) == 1:
        return table.read_table(files[0])
    read = {part: table.read_table(file) for part, file in _by_part(files, files[0].parent).items()}
    for part, source in read.items():
        if len(source.parts) > 1:
            raise UsageError(f"the table of the {part} part has splits of its own; expected one table as data")
    return Source({part: next(iter(source.parts.values())) for part, source in read.items() if source.parts}, None)


def _has_texts(folder: Path) -> bool:
    """Whether an image of the folder, or of a split's folder in it, has a text of its name beside it."""
    homes = [folder, *(home for home in folder.iterdir() if home.is_dir() and part_of(home.name))]
    images = (file for home in homes for file in home.iterdir() if file.suffix.lower() in SUFFIXES)
    return any(file.with_suffix(".txt").is_file() for file in images)


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
    return DetectionSplit(list(pages.values()), problems, masks=any(s.masks for s in splits), left_out=left_out)
