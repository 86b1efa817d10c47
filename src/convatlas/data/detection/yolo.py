"""Annotations of YOLO: one text file an image, each line a class number and centre x, centre y, width, height.

The four are fractions of the image. A line with a class and at least three points is a polygon or a turned box, whose
upright box is taken. An image without a text file is one without objects.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convatlas.data import limits
from convatlas.data.detection.annotations import PARTS, Drawn, Fault, Page, Part, Source
from convatlas.data.detection.images import ImageFinder, image_folders
from convatlas.data.detection.segments import polygon_box
from convatlas.data.folder import SUFFIXES
from convatlas.data.part_names import part_of
from convatlas.errors import ConvatlasError

_IMAGES = ("images", "imgs", "image", "JPEGImages")
_LISTS = ("classes", "obj", "train", "val", "valid", "test", "readme", "requirements", "license", "notes")
_BOX, _SCORED = 5, 6  # numbers of a line


def read_yaml(file: Path) -> Source:
    """`data.yaml` of Ultralytics: `names`, and `train`, `val` and `test`, each a folder or a list of images.

    Raises:
        ConvatlasError: it can't be read, or lacks `names` or `train`.
    """
    try:
        content: Any = limits.load_yaml(file)
    except OSError as error:
        raise ConvatlasError(f"{file} can't be read: {error.strerror or error}") from error
    given = {PARTS[key]: value for key, value in content.items() if key in PARTS and value} if _is_map(content) else {}
    if not given or "names" not in content:
        raise ConvatlasError(f"{file} lacks `names` or `train`; expected both, as Ultralytics writes them")
    names = _names(content["names"], file)
    points = content.get("kpt_shape")
    home = file.parent
    base = home / str(content.get("path") or ".")
    parts = {}
    for part, value in given.items():
        entries = value if isinstance(value, list) else [value]
        files = [path for entry in entries for path in _images(str(entry)[:4096], (base, home), part)]
        parts[part] = _read(list(dict.fromkeys(files)), names, has_points=points is not None)
    return Source(parts, tuple(names))


def read_darknet(folder: Path) -> Source:
    """Darknet's own layout: obj.names, and train.txt, perhaps valid.txt or test.txt, which list images.

    Raises:
        ConvatlasError: a file can't be read.
    """
    names = _lines(folder / "obj.names")
    parts = {}
    for name, part in PARTS.items():
        file = folder / f"{name}.txt"
        if limits.stands(file):
            parts[part] = _read_listed(file, folder, names)
    if not parts:
        raise ConvatlasError(f"{folder} has obj.names and no train.txt; expected the list of its images")
    return Source(parts, tuple(names))


def read_folders(folder: Path) -> Source:
    """Images below `images` and texts below `labels`, each perhaps with `train`, `val` and `test`; classes.txt.

    Or `images` and `labels` below `train`, `valid` and `test`. Without classes.txt classes are called by numbers.
    """
    lists = (folder / name for name in ("classes.txt", "labels/classes.txt"))
    listed = next((file for file in lists if limits.stands(file)), None)
    names = _lines(listed) if listed is not None else None
    found: dict[str, list[str]] = {}
    tops = [folder / name for name in _IMAGES if (folder / name).is_dir()]
    for top in (*tops, folder):
        for place in sorted(top.iterdir()):
            part = part_of(place.name) if place.is_dir() else None
            inner = next((place / name for name in _IMAGES if (place / name).is_dir()), None)
            if part and (top != folder or inner is not None or next(place.glob("*.txt"), None)):
                found.setdefault(part, []).extend(_in_folder(inner or place))
    if not found:
        found["train"] = _in_folder(tops[0] if tops else folder)
    return Source({part: _read(paths, names) for part, paths in found.items()}, None if names is None else tuple(names))


def text_of(image: str) -> Path:
    """Where an image's text lies: `labels` in the place of the last `images` of its path, or beside it."""
    parts = list(Path(image).with_suffix(".txt").parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] in _IMAGES:
            parts[place] = "labels"
            if Path(*parts).parent.is_dir():
                return _in_any_case(Path(*parts))
            break
    return _in_any_case(Path(image).with_suffix(".txt"))


def _in_any_case(text: Path) -> Path:
    upper = text.with_suffix(".TXT")
    return upper if upper.is_file() and not limits.stands(text) else text


def _read(images: Sequence[str], names: Sequence[str] | None, *, has_points: bool = False) -> Part:
    part = Part()
    texts = {}
    for image in images:
        texts[os.path.splitext(image)[0]] = text = text_of(image)
        _add(part, image, text, names, has_points=has_points)
    part.faults.extend(_orphans(texts.values()))
    return part


def _orphans(texts: Iterable[Path]) -> list[Fault]:
    """Texts of boxes without an image, beside those that have one."""
    known, folders = set(texts), {text.parent for text in texts}
    faults = []
    for folder in sorted(folders):
        for file in sorted(folder.glob("*.[tT][xX][tT]")) if folder.is_dir() else ():
            if file not in known and file.stem.lower() not in _LISTS and _is_label(file):
                faults.append(Fault(str(file), f"its image {file.stem!r} is not there", "no image"))
    return faults


def _is_label(file: Path) -> bool:
    try:
        numbers = [float(word) for line in _lines(file)[:1] for word in line.split()]
    except (ConvatlasError, ValueError):
        return False
    return len(numbers) >= _BOX


def _read_listed(file: Path, folder: Path, names: Sequence[str]) -> Part:
    """Of Darknet: the list's paths are relative to wherever it was run, so that names are looked for."""
    part, lines = Part(), list(dict.fromkeys(_lines(file)))
    finder = ImageFinder([folder, *image_folders(folder, "obj_train_data", "data")], lines)
    for line in lines:
        text = folder / "obj_train_data" / f"{Path(line).stem[:250]}.txt"
        image = finder.find(line)
        if image is None:
            part.faults.append(Fault(str(file), finder.explain(line), "no image"))
        else:
            own = text_of(image)
            _add(part, image, own if os.path.isfile(own) or not os.path.isfile(text) else text, names)
    return part


def _add(part: Part, image: str, text: Path, names: Sequence[str] | None, *, has_points: bool = False) -> None:
    if not limits.stands(text):
        part.pages.append(Page(image, None, [], str(text)))
        return
    drawn: list[Drawn] = []
    faults: list[Fault] = []
    try:
        lines = _lines(text)
    except ConvatlasError as error:
        lines, faults = [], [Fault(str(text), str(error).removeprefix(f"{text} "), "bad object")]
    for number, line in enumerate(lines, start=1):
        try:
            label, box = _parse(line, has_points=has_points)
        except ValueError as error:
            faults.append(Fault(str(text), f"line {number} is {line[:60]!r}: {error}", "bad object"))
            continue
        drawn.append(Drawn(_name(label, names), box))
    part.pages.append(Page(image, None, drawn, str(text), fractions=True, faults=faults))


def _name(label: int, names: Sequence[str] | None) -> str:
    """Of a class; a number beyond the names is none of them, also where they are numbers."""
    if names is None:
        return str(label)
    return names[label] if label < len(names) else f"number {label}"


def _parse(line: str, *, has_points: bool) -> tuple[int, tuple[float, float, float, float]]:
    """Class and box, x1, y1, x2, y2, of a line.

    Raises:
        ValueError: it is no box; the message says what it looks like.
    """
    try:
        label, *numbers = map(float, line.replace(",", " ").split())
    except ValueError as error:
        raise ValueError("expected a class number and four numbers") from error
    if not (0 <= label < 1 << 31) or label != int(label):
        raise ValueError(f"its class is {label:g}; expected a whole number from 0 on")
    count = 1 + len(numbers)
    if count == _SCORED:
        raise ValueError(
            "six numbers, as of a saved prediction with its confidence, or a turned box with its angle; expected five"
        )
    if count == _BOX or (has_points and count > _BOX):
        x, y, width, height = numbers[:4]
        return int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if count > _BOX and count % 2 == 1:
        return int(label), polygon_box(numbers)
    raise ValueError(f"{count} numbers; expected a class and four numbers, or a class and the points of a polygon")


def _is_map(content: Any) -> bool:
    return isinstance(content, dict)


def _names(listed: Any, file: Path) -> list[str]:
    if isinstance(listed, dict) and all(isinstance(key, int) for key in listed):
        if sorted(listed) != list(range(len(listed))):
            numbers = ", ".join(map(str, sorted(listed)[:8]))
            raise ConvatlasError(f"{file}: the names' numbers are {numbers}; expected 0 to {len(listed) - 1}")
        listed = [listed[key] for key in sorted(listed)]
    if not isinstance(listed, list) or not all(isinstance(name, str | int | float) for name in listed):
        raise ConvatlasError(f"{file}: `names` is neither a list of names nor a table from numbers to names")
    names = [str(name).strip() for name in listed]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConvatlasError(f"{file} has two classes of the name {twice[0][:80]!r}; expected every name once")
    return names


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in limits.read_text(file).splitlines() if line.strip()]
    except OSError as error:
        raise ConvatlasError(f"{file} can't be read: {error.strerror or error}") from error


def _images(entry: str, bases: Sequence[Path], part: str) -> list[str]:
    """The images of a folder, or of a list of paths."""
    plain = entry.replace("\\", "/").replace("\0", "")
    while plain.startswith("../") and not any(os.path.exists(base / plain) for base in bases):
        plain = plain.removeprefix("../")
    for place in (base / plain for base in bases):
        if os.path.isdir(place):
            return _in_folder(place)
        if os.path.isfile(place):
            lines = list(dict.fromkeys(_lines(place)))
            finder = ImageFinder([place.parent, *bases], lines)
            return [finder.at_place(line) or str(place.parent / line) for line in lines]
    raise ConvatlasError(
        f"{part} of data.yaml is {entry!r}, which is neither a folder nor a list in {bases[-1]}; write where it lies"
    )


def _in_folder(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in files if not name.startswith("."))
        found += [os.path.join(parent, name) for name in names if Path(name).suffix.lower() in SUFFIXES]
    return found
