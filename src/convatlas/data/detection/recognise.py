"""Which format marks the boxes of a file or folder, and its splits as that format has them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convatlas.data.detection import coco, exports, table, voc, yolo
from convatlas.data.detection.annotations import Source
from convatlas.data.folder import SUFFIXES
from convatlas.data.limits import stands
from convatlas.data.part_names import part_in, part_of
from convatlas.errors import ConvatlasError, UsageError

FORMS = (
    "a folder as VOC's (Annotations, ImageSets/Main), a folder of .xml files, COCO's .json or a folder of it, "
    "YOLO's data.yaml or folder, a .csv of boxes, or the .json of LabelMe or CreateML"
)


def open_source(path: Path) -> Source:
    """The splits and classes of a file or folder, before any object is judged.

    Raises:
        UsageError: no data of a known format there.
        ConvatlasError: an annotation file can't be used.
        OSError: a folder can't be read.
    """
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise UsageError(f"data {str(path)!r} is neither a file nor a folder; expected {FORMS}")
    if voc.is_layout(path):
        return voc.read_layout(path)
    inner = sorted(folder for folder in (*path.glob("VOC*"), *path.glob("VOCdevkit/VOC*")) if voc.is_layout(folder))
    if len(inner) > 1:
        raise UsageError(f"{path} holds {' and '.join(folder.name for folder in inner)}; expected one of them as data")
    if inner:
        return voc.read_layout(inner[0])
    if files := [path / name for name in ("data.yaml", "data.yml", "dataset.yaml") if stands(path / name)]:
        return yolo.read_yaml(files[0])
    if stands(path / "obj.names"):
        return yolo.read_darknet(path)
    if contents := _json_files(path):
        return _open_json(contents, path)
    if loose := voc.find_loose(path):
        return voc.read_loose(path, loose)
    if tables := [file for file in sorted((*path.glob("*.csv"), *path.glob("*.tsv"))) if table.is_table(file)]:
        return _open_tables(tables)
    if stands(path / "classes.txt") or next(path.glob("**/labels"), None) is not None or _has_texts(path):
        return yolo.read_folders(path)
    raise UsageError(f"folder {str(path)!r} holds no boxes of a known format; expected {FORMS}")


def _open_file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _open_json({path: exports.load(path)}, path.parent)
    if suffix in (".yaml", ".yml"):
        return yolo.read_yaml(path)
    if suffix in (".csv", ".tsv"):
        return table.read_table(path)
    raise UsageError(f"data {str(path)!r} is a file of another kind; expected {FORMS}")


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
    return any(stands(file.with_suffix(".txt")) for file in images)
