"""Annotations of YOLO: one text file a picture, each line a class number and centre x, centre y, width, height.

The four are fractions of the picture. A fifth and further numbers, as segmentation tools write, are not boxes and
named. A picture without a text file is one without objects.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convatlas.data.detection.annotations import PARTS, Drawn, Fault, Page, Part, Source, find_picture, picture_folders
from convatlas.data.folder import SUFFIXES
from convatlas.structures import ConvatlasError


def read_yaml(file: Path) -> Source:
    """`data.yaml` of Ultralytics: `names`, and `train`, `val` and `test`, each a folder or a list of pictures.

    Raises:
        ConvatlasError: it can't be read, or lacks `names` or `train`.
    """
    import yaml

    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConvatlasError(f"{file} can't be read: {error}") from error
    if not isinstance(content, dict) or "names" not in content or not (content.get("train") or content.get("val")):
        raise ConvatlasError(f"{file} lacks `names` or `train`; expected both, as Ultralytics writes them")
    listed = content["names"]
    names = [str(listed[key]) for key in sorted(listed)] if isinstance(listed, dict) else [str(n) for n in listed]
    home = file.parent
    base = home / str(content.get("path") or ".")
    parts = {}
    for key, part in PARTS.items():
        given = content.get(key)
        if given:
            entries = given if isinstance(given, list) else [given]
            pictures = [path for entry in entries for path in _pictures(str(entry), (base, home))]
            parts[part] = _read(pictures, names)
    return Source(parts, tuple(names))


def read_darknet(folder: Path) -> Source:
    """Darknet's own layout: obj.names, and train.txt, perhaps valid.txt or test.txt, which list pictures.

    Raises:
        ConvatlasError: a file can't be read.
    """
    names = _lines(folder / "obj.names")
    folders = picture_folders(folder, "obj_train_data", "data")
    parts = {}
    for name, part in PARTS.items():
        file = folder / f"{name}.txt"
        if file.is_file():
            parts[part] = _read_listed(_lines(file), folder, folders, names)
    if not parts:
        raise ConvatlasError(f"{folder} has obj.names and no train.txt; expected the list of its pictures")
    return Source(parts, tuple(names))


def read_folders(folder: Path) -> Source:
    """Pictures below `images` and texts below `labels`, each perhaps with `train`, `val` and `test`; classes.txt.

    Or `images` and `labels` below `train`, `valid` and `test`. Without classes.txt classes are called by numbers.
    """
    listed = folder / "classes.txt"
    names = _lines(listed) if listed.is_file() else None
    parts = {}
    for name, part in PARTS.items():
        for place in (folder / "images" / name, folder / name / "images"):
            if place.is_dir():
                parts[part] = _read(_in_folder(place), names)
    if not parts:
        parts["train"] = _read(_in_folder(folder / "images" if (folder / "images").is_dir() else folder), names)
    return Source(parts, tuple(names) if names is not None else None)


def text_of(picture: str) -> Path:
    """Where a picture's text lies: `labels` in the place of the last `images` of its path, or beside it."""
    parts = list(Path(picture).with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            if Path(*parts).parent.is_dir():
                return Path(*parts)
            break
    return Path(picture).with_suffix(".txt")


def _read(pictures: Iterable[str], names: Sequence[str] | None) -> Part:
    part = Part()
    for picture in pictures:
        _add(part, picture, text_of(picture), names)
    return part


def _read_listed(lines: Sequence[str], folder: Path, pictures: Sequence[Path], names: Sequence[str]) -> Part:
    """Of Darknet: the list's paths are relative to wherever it was run, so that names are looked for."""
    part = Part()
    for line in lines:
        text = folder / "obj_train_data" / f"{Path(line).stem}.txt"
        picture = find_picture(line, [folder, *pictures])
        if picture is None:
            part.faults.append(Fault(str(folder / "train.txt"), f"its picture {line!r} is not there", "no picture"))
        else:
            _add(part, picture, text if text.is_file() else text_of(picture), names)
    return part


def _add(part: Part, picture: str, text: Path, names: Sequence[str] | None) -> None:
    if not text.is_file():
        part.pages.append(Page(picture, None, [], str(text)))
        return
    drawn = []
    for number, line in enumerate(_lines(text), start=1):
        try:
            label, x, y, width, height = (float(word) for word in line.split())
        except ValueError:
            part.faults.append(Fault(str(text), f"line {number} is {line[:60]!r}; expected a class and four numbers"))
            continue
        known = names is not None and label in range(len(names))
        name = names[int(label)] if names is not None and known else f"{label:g}"
        drawn.append(Drawn(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)))
    part.pages.append(Page(picture, None, drawn, str(text), fractions=True))


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConvatlasError(f"{file} can't be read: {error}") from error


def _pictures(entry: str, bases: Sequence[Path]) -> list[str]:
    """The pictures of a folder, or of a list of paths."""
    plain = entry.replace("\\", "/")
    for place in (*(base / plain for base in bases), *(base / plain.removeprefix("../") for base in bases)):
        if place.is_dir():
            return _in_folder(place)
        if place.is_file():
            return [str(place.parent / line) for line in _lines(place)]
    raise ConvatlasError(f"{entry!r} of data.yaml is neither a folder nor a list in {bases[0]}; expected one of them")


def _in_folder(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        found += [os.path.join(parent, name) for name in sorted(files) if Path(name).suffix.lower() in SUFFIXES]
    return found
