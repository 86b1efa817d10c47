"""Boxes in a table, one object a line: comma, semicolon or tab between columns, with a header or RetinaNet's."""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from convatlas.data import limits
from convatlas.data.detection.annotations import Drawn, Fault, Page, Part, Source
from convatlas.data.detection.images import ImageFinder, image_folders
from convatlas.data.folder import SUFFIXES
from convatlas.data.part_names import part_of
from convatlas.errors import ConvatlasError

COLUMNS = {
    "path": (
        "path", "file", "filename", "filepath", "image", "imagepath", "imagename", "imagefilename", "imagefile",
        "imageid", "img", "imgpath", "imgname", "imgid",
    ),
    "class": (
        "class", "label", "classname", "labelname", "category", "categoryname", "name", "object", "objectname",
        "classid", "labelid", "categoryid", "classlabel",
    ),
    "x1": ("x1", "xmin", "left", "roix1", "bboxxmin", "bboxx1", "minx"),
    "y1": ("y1", "ymin", "top", "roiy1", "bboxymin", "bboxy1", "miny"),
    "x2": ("x2", "xmax", "right", "roix2", "bboxxmax", "bboxx2", "maxx"),
    "y2": ("y2", "ymax", "bottom", "roiy2", "bboxymax", "bboxy2", "maxy"),
    "x": ("x", "bboxx", "boxx"),
    "y": ("y", "bboxy", "boxy"),
    "xc": ("xcenter", "xcentre", "centerx", "centrex", "cx"),
    "yc": ("ycenter", "ycentre", "centery", "centrey", "cy"),
    "w": ("w", "bboxw", "bboxwidth", "boxw", "boxwidth", "width"),
    "h": ("h", "bboxh", "bboxheight", "boxh", "boxheight", "height"),
    "bbox": ("bbox", "boundingbox", "box"),
    "split": ("split", "set", "subset", "partition", "usage"),
    "difficult": ("difficult", "isgroupof", "iscrowd"),
}  # fmt: skip
_BOXES = (("x1", "y1", "x2", "y2"), ("xc", "yc", "w", "h"), ("x", "y", "w", "h"), ("bbox",))  # the first that is whole
_RETINANET = ("path", "x1", "y1", "x2", "y2", "class")
_ONE_CLASS = "object"  # what the boxes of a table without classes are called
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf", re.IGNORECASE)


class Header(NamedTuple):
    """Where the columns are, and how a box is written."""

    places: dict[str, int]
    box: tuple[str, ...]
    delimiter: str
    lines: int  # of the header: 0 or 1
    opens: bool  # it has an ImageID, as Open Images', whose boxes may reach a little beyond 1


@dataclass
class _Row:
    where: str
    part: str
    name: str
    label: str = ""
    sides: tuple[float, float, float, float] | None = None
    difficult: bool = False
    fault: Fault | None = None


def read_table(file: Path) -> Source:
    """Columns by their names, in any order: a path, a class, and a box.

    A box is x1, y1, x2, y2 (or xmin, ymin, xmax, ymax), x, y, width, height, a centre with width and height, or a
    column `bbox` of x, y, width, height. Coordinates are pixel edges, 0 to the width and height; where none is above 1
    they are fractions. `difficult` (0 or 1) and `split` (train, val, test) may be there too. A line with a path alone
    is an image without objects. Paths are relative to the file's folder. Without a header the columns are path, x1, y1,
    x2, y2, class.

    Raises:
        ConvatlasError: no such columns, or no lines.
    """
    text = _read(file)
    header = read_header(text)
    if header is None:
        missing = "a path and a box" if text.strip() else "anything"
        raise ConvatlasError(
            f"{file} has no column for {missing}; expected path, class, and x1, y1, x2, y2 (or x, y, width, height, or "
            f"bbox) in a header"
        )
    if lost := [name for name in _RETINANET[1:5] if header.box == () and name not in header.places]:
        raise ConvatlasError(
            f"{file} has no column for {', '.join(lost)}; expected path, class, and x1, y1, x2, y2 (or x, y, width, "
            f"height, or bbox) in a header"
        )
    rows = list(_rows(file, text, header))
    sides = [side for row in rows if row.sides is not None for side in row.sides]
    fractions = _are_fractions(sides, opens=header.opens)
    finder = ImageFinder([*image_folders(file, "train", "test", "val")], {row.name for row in rows})
    parts: dict[str, Part] = {}
    pages: dict[tuple[str, str], Page | None] = {}
    for row in rows:
        part = parts.setdefault(row.part, Part())
        key = (row.part, row.name)
        if key not in pages:
            path = finder.find(row.name)
            pages[key] = Page(path, None, [], str(file), fractions, []) if path else None
            if path is None:
                part.faults.append(Fault(row.where, finder.explain(row.name), "no image"))
        page = pages[key]
        if page is not None and row.fault is not None:
            pages[key] = page._replace(faults=[*page.faults, row.fault])
        elif page is not None and row.sides is not None:
            page.objects.append(Drawn(row.label, row.sides, row.difficult))
    for (part_name, _), page in pages.items():
        if page is not None:
            parts[part_name].pages.append(page)
    notes = []
    if "class" not in header.places:
        notes.append(f"no column of classes; every box is of one class, {_ONE_CLASS!r}")
    if header.box in (_BOXES[2], _BOXES[3]):
        notes.append("boxes are taken for x and y of the upper left corner, width and height")
    for part in list(parts.values())[:1]:
        part.faults.extend(Fault(str(file), note, "assumed") for note in notes)
    return Source(parts, None)


def is_table(file: Path) -> bool:
    """Whether a file has columns of boxes."""
    try:
        header = read_header(_read(file))
    except ConvatlasError:
        return False
    return header is not None and bool(header.box)


def read_header(text: str) -> Header | None:
    """The columns, by the delimiter that gives the most of them; None where there is no column of paths."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    found = [header for delimiter in ",;\t|" if (header := _header(first, delimiter)) is not None]
    return max(found, key=lambda header: (bool(header.box), len(header.places)), default=None)


def _header(line: str, delimiter: str) -> Header | None:
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return None
    names = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells]
    places = {}
    for want, known in COLUMNS.items():
        place = next((names.index(name) for name in known if name in names), None)
        if place is not None:
            places[want] = place
    if "path" in places:
        box = next((box for box in _BOXES if all(side in places for side in box)), ())
        return Header(places, box, delimiter, 1, "imageid" in names)
    is_plain = len(cells) >= len(_RETINANET) and os.path.splitext(cells[0].strip())[1].lower() in SUFFIXES
    if is_plain and all(not cell.strip() or _number(cell) is not None for cell in cells[1:5]):
        return Header({name: place for place, name in enumerate(_RETINANET)}, _BOXES[0], delimiter, 0, False)
    return None


def _rows(file: Path, text: str, header: Header) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=header.delimiter)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ConvatlasError(f"{file}, line {reader.line_num}, can't be read: {error}") from error
    for number, cells in lines[header.lines :]:
        where = f"{file}, line {number}"
        given = _cell(cells, header.places, "split")
        part = part_of(given) if given else "train"
        if part is None:
            raise ConvatlasError(f"{where}: split is {given[:60]!r}; expected train, val or test")
        row = _Row(where, part, _cell(cells, header.places, "path"), _cell(cells, header.places, "class"))
        if "class" not in header.places:
            row.label = _ONE_CLASS
        row.difficult = _cell(cells, header.places, "difficult").lower() in ("1", "1.0", "true")
        _read_box(row, cells, header)
        yield row


def _read_box(row: _Row, cells: Sequence[str], header: Header) -> None:
    given = [_cell(cells, header.places, side) for side in header.box]
    if not any(given) and (not row.label or "class" not in header.places):
        return  # an image without objects
    numbers = _NUMBER.findall(given[0]) if header.box == ("bbox",) else given
    values = [_number(number) for number in numbers]
    if len(values) != 4 or None in values:
        row.fault = Fault(
            row.where, f"its box is {', '.join(map(repr, given))[:120]}; expected four numbers", "bad object"
        )
    elif not row.label:
        row.fault = Fault(row.where, "its class is empty", "unknown class")
    else:
        a, b, c, d = (value for value in values if value is not None)
        row.sides = (a, b, c, d) if header.box == _BOXES[0] else (a, b, a + c, b + d)
        if header.box == _BOXES[1]:
            row.sides = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)


def _are_fractions(sides: Sequence[float], *, opens: bool) -> bool:
    """Whether all coordinates are within 0 and 1: boxes of at most one pixel in the corner would be no boxes."""
    usable = [side for side in sides if side == side]
    return bool(usable) and max(usable) <= (1.5 if opens else 1.01) and any(side % 1 for side in usable)


def _cell(cells: Sequence[str], places: Mapping[str, int], name: str) -> str:
    place = places.get(name, len(cells))
    return cells[place].strip() if place < len(cells) else ""


def _number(text: str) -> float | None:
    try:
        return float(text.strip().replace(",", "."))  # decimals as half of Europe writes them
    except ValueError:
        return None


def _read(file: Path) -> str:
    try:
        return limits.read_text(file)
    except OSError as error:
        raise ConvatlasError(f"{file} can't be read: {error.strerror or error}") from error
