"""Tables that name the classes of masks: classes.csv and what labelling tools write."""

import csv
import io
import re
from pathlib import Path

from convatlas.data import limits
from convatlas.data.segmentation.classes import MAX_CLASSES, Colour, MaskClasses, voc_colours
from convatlas.errors import ConvatlasError
from convatlas.records import VOID

_VOID_NAMES = (
    "void", "unlabelled", "unlabeled", "ignore", "ignored", "ignore_label", "background/void", "dontcare", "don't care",
)  # fmt: skip
_LINES = ("classes.txt", "codes.txt", "labels.txt")
_TABLES = ("classes.csv", "class_dict.csv", "labelmap.txt", "label_colors.txt", *_LINES)
_VALUE, _NAME = ("value", "id", "label_id", "index"), ("name", "class", "label", "class_name")
_COLOUR = ("colour", "color")
_CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))


def find_table(folder: Path) -> MaskClasses | None:
    """The classes that a folder names, None where it has no table.

    `classes.csv` has columns value, name, and perhaps colour as #rrggbb or r, g and b; without values the rows count
    from 0. `classes.txt` or `codes.txt` has a name a line, in the order of their values. CVAT's `labelmap.txt` and
    CamVid's `label_colors.txt` and `class_dict.csv` are read too. A class named void, unlabelled or ignore is left out
    of training and score.

    Raises:
        ConvatlasError: the file names no classes, or a row can't be read.
    """
    by_name = {entry.name.lower(): entry for entry in sorted(folder.iterdir(), reverse=True)}
    for name in _TABLES:
        path = by_name.get(name)
        if path is not None and limits.stands(path):
            return _read(path)
    return None


def _read(path: Path) -> MaskClasses:
    try:
        text = limits.read_text(path).replace("\ufeff", "")
    except OSError as error:
        raise ConvatlasError(f"{path} can't be read: {error.strerror or error}") from error
    if path.suffix.lower() == ".csv":
        return _read_csv(text, path)
    lines = [line.strip() for line in text.splitlines()]
    if path.name.lower() == "labelmap.txt":
        return _read_labelmap([line for line in lines if line and not line.startswith("#")], path)
    if path.name.lower() == "label_colors.txt":
        return _read_colours([line for line in lines if line], path)
    return _build(list(enumerate(line for line in lines if line)), {}, path)


def _read_csv(text: str, path: Path) -> MaskClasses:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    rows: list[tuple[int, str]] = []
    colours: dict[int, Colour] = {}
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ConvatlasError(f"{path} can't be read: {error}") from error
    header = [cell.strip().lower() for cell in table[0]] if table else []
    for number, cells in enumerate(table[1:], start=2):
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if not any(row.values()):
            continue
        try:
            name = next(row[key] for key in _NAME if key in row)
            given = next((row[key] for key in _VALUE if key in row), None)
            if given is None and not any(key in header for channels in _CHANNELS for key in channels):
                raise KeyError("value")
            value = len(rows) if given is None else int(given)
            if not 0 <= value < 1 << 16:
                raise ValueError(f"value {value}")
            rows.append((value, name))
            if (colour := _colour(row)) is not None:
                colours[value] = colour
        except (KeyError, ValueError, StopIteration) as error:
            raise ConvatlasError(
                f"{path}, line {number}: {str(row)[:200]}; expected the columns value, name and perhaps colour "
                f"(#rrggbb)"
            ) from error
    return _build(rows, colours, path)


def _colour(row: dict[str, str]) -> Colour | None:
    if code := next((row[key] for key in _COLOUR if row.get(key)), "").removeprefix("#"):
        if len(code) != 6:
            raise ValueError(f"colour {code!r}")
        red, green, blue = bytes.fromhex(code)
        return red, green, blue
    channels = next(([int(row[key]) for key in keys] for keys in _CHANNELS if all(row.get(key) for key in keys)), None)
    if channels is None:
        return None
    return _bytes(channels)


def _bytes(channels: list[int]) -> Colour:
    red, green, blue = bytes(channels)
    return red, green, blue


def _read_labelmap(lines: list[str], path: Path) -> MaskClasses:
    """CVAT: label:r,g,b:parts:actions, numbered by their order."""
    rows, colours = [], {}
    for value, line in enumerate(lines):
        name, _, rest = line.partition(":")
        try:
            colours[value] = _bytes([int(channel) for channel in rest.split(":")[0].split(",")])
        except ValueError as error:
            raise ConvatlasError(f"{path}: {line[:80]!r}; expected name:red,green,blue:parts:actions") from error
        rows.append((value, name.strip()))
    return _build(rows, colours, path)


def _read_colours(lines: list[str], path: Path) -> MaskClasses:
    """CamVid: red green blue name, numbered by their order."""
    rows, colours = [], {}
    for value, line in enumerate(lines):
        match = re.fullmatch(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(\S.*)", line)
        try:
            if match is None:
                raise ValueError(line)
            colours[value] = _bytes([int(channel) for channel in match.groups()[:3]])
        except ValueError as error:
            raise ConvatlasError(f"{path}: {line[:80]!r}; expected red green blue name") from error
        rows.append((value, match[4].strip()))
    return _build(rows, colours, path)


def _build(rows: list[tuple[int, str]], colours: dict[int, Colour], path: Path) -> MaskClasses:
    kept = [(value, name) for value, name in rows if name.lower() not in _VOID_NAMES]
    left = [value for value, name in rows if name.lower() in _VOID_NAMES]
    if not 2 <= len(kept) <= MAX_CLASSES:
        raise ConvatlasError(f"{path} names {len(kept)} classes; expected 2 to {MAX_CLASSES}")
    values, names = zip(*kept, strict=True)
    given = [colours[value] for value in (*values, *left) if value in colours]
    for what, entries in (("value", [*values, *left]), ("class", names), ("colour", given)):
        if twice := [entry for entry in entries if entries.count(entry) > 1]:
            shown = f"#{bytes(twice[0]).hex()}" if isinstance(twice[0], tuple) else twice[0]
            raise ConvatlasError(f"{path}: {what} {shown} is there twice; expected one row each")
    usual = voc_colours(len(kept))
    chosen = tuple(colours.get(value, usual[index]) for index, value in enumerate(values))
    void = tuple({*left, VOID} - {*values})
    void_colours = tuple(colours[value] for value in left if value in colours)
    return MaskClasses(names, chosen, values, void, void_colours=void_colours, told_colours=tuple(colours.items()))
