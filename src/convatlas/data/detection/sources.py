"""From what a person types after `--data` to pictures with objects, whatever format marks them."""

from collections.abc import Sequence
from pathlib import Path

from convatlas.data.detection import coco, table, voc, yolo
from convatlas.data.detection.annotations import PARTS, Source, judge, occurring
from convatlas.data.detection.split import DetectionData, DetectionSplit
from convatlas.data.division import Division, divide
from convatlas.structures import ConvatlasError, UsageError

_FORMS = (
    "a folder as VOC's (Annotations, ImageSets/Main), a folder of .xml files, COCO's .json or a folder of it, "
    "YOLO's data.yaml or folder, or a .csv of boxes"
)


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
    """A data set of marked pictures by its place.

    Args:
        spec: a folder or a file: VOC's layout or loose XML, COCO's JSON, YOLO's texts, or a CSV, as `parts` tells them.
        test: another spec, whose test part (or whole, where it has no parts) becomes the test part.
        test_fraction: of the pictures, where the source has no test part; stratified by each one's rarest class.
        seed: chooses these pictures. What was chosen is the result's `division`, to be written down.
        division: chosen before, and used again where the source has no test part.
        classes: their names in the order of a network's outputs; objects of others are named and left out.
        masks: read COCO's segmentations too.
        select_on: "val" or "test": the part to test on. By default "test" where objects are marked on it, and then
            all of "trainval" is for training; else "val", with "train" for training.

    Raises:
        UsageError: no such path, or no data of a known format there.
        ConvatlasError: what was found can't be used; the message says why.
    """
    if not 0 < test_fraction < 1:
        raise UsageError(f"test_fraction is {test_fraction}; expected a number between 0 and 1")
    found, names = parts(spec, classes=classes, masks=masks)
    held_out = select_on or next((part for part in ("test", "val") if _is_marked(found.get(part))), None)
    source = spec
    if held_out is not None and held_out not in found:
        raise UsageError(f"{spec} has no part {held_out!r}; expected one of {', '.join(found)}")
    whole = [found[part] for part in (("trainval",) if "trainval" in found else ("train", "val")) if part in found]
    train = whole if held_out == "test" else [found[part] for part in ("train", "trainval") if part in found][:1]
    if not train:
        raise ConvatlasError(f"{spec} has the parts {', '.join(found)}; expected one for training")
    trained, tested, made = _joined(train), found[held_out] if held_out else None, None
    if test is not None:
        others, _ = parts(test, classes=names, masks=masks)
        tested = next((others[part] for part in ("test", "val", "train", "trainval") if part in others), None)
        source = f"{spec}; test: {test}"
    if tested is None:
        made = division or divide(trained, test_fraction=test_fraction, seed=seed)
        problems = trained.problems
        trained, tested = made.apply(trained)
        trained.problems.extend(problems)
    for part, split in (("train", trained), ("test", tested)):
        if not _is_marked(split):
            first = (
                f"; the first problem: {split.problems[0].path}: {split.problems[0].reason}" if split.problems else ""
            )
            raise ConvatlasError(
                f"no object is marked on the {part} pictures of {source}; expected at least one{first}"
            )
    return DetectionData(Path(spec).expanduser().resolve().stem, trained, tested, names, source, made)


def parts(
    spec: str, *, classes: Sequence[str] | None = None, masks: bool = False
) -> tuple[dict[str, DetectionSplit], tuple[str, ...]]:
    """What a source holds, "train" first where it has one, and its classes.

    Raises:
        UsageError: no such path, or no data of a known format there.
        ConvatlasError: an annotation file can't be used.
    """
    path = Path(spec).expanduser()
    if not path.exists():
        raise UsageError(f"data {spec!r} does not exist; expected {_FORMS}")
    source = _open(path, masks)
    names = tuple(classes) if classes is not None else source.classes or occurring(source.parts.values())
    if not names:
        first = next((fault for part in source.parts.values() for fault in part.faults), None)
        reason = f"; the first problem: {first.path}: {first.reason}" if first else ""
        raise ConvatlasError(f"{spec} has no objects; expected pictures with boxes{reason}")
    splits = {}
    for name in sorted(source.parts, key=("train", "val", "trainval", "test").index):
        pages, faults = judge(source.parts[name], names)
        splits[name] = DetectionSplit(pages, faults, masks=masks)
    return splits, names


def _open(path: Path, masks: bool) -> Source:
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".json":
            return _join_coco({"train": path}, masks)
        if suffix in (".yaml", ".yml"):
            return yolo.read_yaml(path)
        if suffix == ".csv":
            return table.read_table(path)
        raise UsageError(f"data {str(path)!r} is a file of another kind; expected {_FORMS}")
    if voc.is_layout(path):
        return voc.read_layout(path)
    inner = sorted(folder for folder in path.glob("VOC*") if voc.is_layout(folder))
    if len(inner) > 1:
        raise UsageError(f"{path} holds {' and '.join(folder.name for folder in inner)}; expected one of them as data")
    if inner:
        return voc.read_layout(inner[0])
    for name in ("data.yaml", "data.yml"):
        if (path / name).is_file():
            return yolo.read_yaml(path / name)
    if (path / "obj.names").is_file():
        return yolo.read_darknet(path)
    if files := _coco_files(path):
        return _join_coco(files, masks)
    if loose := _loose_xml(path):
        return Source({part: voc.read_loose(folder) for part, folder in loose.items()}, voc.listed_classes(path))
    tables = sorted(path.glob("*.csv"))
    if len(tables) == 1:
        return table.read_table(tables[0])
    if next(path.glob("**/labels"), None) is not None or (path / "classes.txt").is_file():
        return yolo.read_folders(path)
    raise UsageError(f"folder {str(path)!r} holds no boxes of a known format; expected {_FORMS}")


def _coco_files(folder: Path) -> dict[str, Path]:
    """Part -> file: instances_*.json in the folder or in `annotations`, or _annotations.coco.json below each part."""
    found = {}
    for part_name, part in PARTS.items():
        file = folder / part_name / "_annotations.coco.json"
        if file.is_file():
            found.setdefault(part, file)
    home = folder / "annotations" if (folder / "annotations").is_dir() else folder
    files = sorted(home.glob("instances*.json")) or ([] if found else sorted(home.glob("*.json")))
    for file in files:
        part = next((part for name, part in PARTS.items() if name in file.stem.lower()), "train")
        if part in found:
            raise UsageError(f"{found[part]} and {file} are both the {part} part; expected one of them as data")
        found[part] = file
    return found


def _join_coco(files: dict[str, Path], masks: bool) -> Source:
    read = {part: coco.read_json(file, masks=masks) for part, file in files.items()}
    names = next(iter(read.values()))[1]
    for part, (_, others) in read.items():
        if set(others) != set(names):
            raise ConvatlasError(
                f"{files[part]} has other categories than {next(iter(files.values()))}; expected the same"
            )
    return Source({part: found for part, (found, _) in read.items()}, names)


def _loose_xml(folder: Path) -> dict[str, Path]:
    """Part -> folder of XML files: this one, its Annotations, or those of its parts."""
    for home in (folder, folder / "Annotations", folder / "annotations"):
        if next(home.glob("*.xml"), None) is not None:
            return {"train": home}
    return {
        part: folder / name for name, part in PARTS.items() if next((folder / name).glob("*.xml"), None) is not None
    }


def _is_marked(split: DetectionSplit | None) -> bool:
    return split is not None and any(len(page.labels) for page in split.pages)


def _joined(splits: Sequence[DetectionSplit]) -> DetectionSplit:
    """One after another, each picture once."""
    if len(splits) == 1:
        return splits[0]
    pages = {page.path: page for split in splits for page in split.pages}
    return DetectionSplit(list(pages.values()), [p for split in splits for p in split.problems], masks=splits[0].masks)
