"""Boxes in a .csv file, one object a line under a header."""

import csv
from pathlib import Path
from typing import Any

from convatlas.data.detection.annotations import PARTS, Drawn, Fault, Page, Part, Source, find_picture, picture_folders
from convatlas.structures import ConvatlasError

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "imageid"),
    "class": ("class", "label", "name", "category", "labelname"),
    "x1": ("x1", "xmin"),
    "y1": ("y1", "ymin"),
    "x2": ("x2", "xmax"),
    "y2": ("y2", "ymax"),
}


def read_table(file: Path) -> Source:
    """Columns by their names, in any order: a path, a class, and x1, y1, x2, y2 (or xmin, ymin, xmax, ymax).

    Coordinates are pixel edges, 0 to the width and height; in a file with an `ImageID`, as Open Images has it, they are
    fractions. `difficult` (0 or 1) and `split` (train, val, test) may be there too. A line with a path alone is a
    picture without objects. Paths are relative to the file's folder.

    Raises:
        ConvatlasError: no such columns, or no lines.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConvatlasError(f"{file} can't be read: {error}") from error
    header = {str(name).strip().lower(): name for name in (rows[0] if rows else {})}
    columns = {want: next((header[n] for n in names if n in header), None) for want, names in COLUMNS.items()}
    if missing := [want for want, name in columns.items() if name is None]:
        raise ConvatlasError(
            f"{file} has no column for {', '.join(missing)}; expected {', '.join(COLUMNS)} in a header"
        )
    fractions = "imageid" in header
    folders = picture_folders(file)
    parts: dict[str, Part] = {}
    pages: dict[tuple[str, str], Page | None] = {}
    for line, row in enumerate(rows, start=2):
        part_name = str(row.get(header.get("split", ""), "") or "train").strip().lower()
        if part_name not in PARTS:
            raise ConvatlasError(f"{file}, line {line}: split is {part_name!r}; expected train, val or test")
        part = parts.setdefault(PARTS[part_name], Part())
        name = str(row[columns["path"]] or "").strip()
        if (part_name, name) not in pages:
            path = find_picture(name, folders)
            pages[part_name, name] = page = Page(path, None, [], str(file), fractions) if path else None
            if page is None:
                part.faults.append(Fault(f"{file}, line {line}", f"its picture {name!r} is not there", "no picture"))
            else:
                part.pages.append(page)
        page = pages[part_name, name]
        if page is not None:
            _add(part, page, row, columns, header, f"{file}, line {line}")
    return Source(parts, None)


def _add(part: Part, page: Page, row: Any, columns: Any, header: Any, where: str) -> None:
    label = str(row[columns["class"]] or "").strip()
    sides = [str(row[columns[side]] or "").strip().replace(",", ".") for side in ("x1", "y1", "x2", "y2")]
    if not label and not any(sides):
        return
    try:
        x1, y1, x2, y2 = map(float, sides)
    except ValueError:
        part.faults.append(Fault(where, f"its box is {', '.join(map(repr, sides))}; expected four numbers"))
        return
    if not label:
        part.faults.append(Fault(where, "its class is empty", "unknown class"))
        return
    difficult = str(row.get(header.get("difficult", ""), "") or "0").strip() == "1"
    page.objects.append(Drawn(label, (x1, y1, x2, y2), difficult))
