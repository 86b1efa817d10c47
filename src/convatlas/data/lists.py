"""Data sets in lists: tables of text with or without a header, and .jsonl files with one object a line."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from convatlas.data.encoded import FileSplit
from convatlas.data.files import SourceProblem
from convatlas.data.labels import indexed
from convatlas.data.limits import parse_json, read_text
from convatlas.data.list_paths import PathRule, find_rule, is_file
from convatlas.data.part_names import PARTS, Part, part_of
from convatlas.errors import ConvatlasError
from convatlas.records import Problem

SUFFIXES = (".csv", ".tsv", ".jsonl")
_TRIED = 20  # rows, one of whose images has to be there
_DELIMITERS = (",", ";", "\t", "|")
_PATH_NAMES = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img_path", "img"),
    *("image_name", "img_name", "imagename", "imgname", "image_id", "img_id", "imageid", "id_code", "id", "images"),
)
_LABEL_NAMES = (
    *("label", "class", "category", "target", "labels", "classes", "class_name", "label_name", "classname"),
    *("category_name", "class_id", "label_id", "category_id", "classid"),
)
_PART_NAMES = ("split", "part", "set", "subset", "partition", "usage")
_PARTS_OF_USAGE: dict[str, Part] = {"publictest": "val", "privatetest": "test"}  # FER2013


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    part: Part


@dataclass(frozen=True)
class ListSource:
    """The splits of a list, train first, and its classes, sorted. What isn't read is in the splits' `problems`."""

    parts: dict[Part, FileSplit]
    classes: tuple[str, ...]


def read_list(path: Path) -> ListSource:
    """The images of a list.

    Columns are divided by commas, semicolons, tabs or bars, and known by their names in a header or an object: `path`
    (or file, filename, image, image_id, id ...), `label` (or class, category, target ...) and perhaps `split` with
    train, val and test under any usual name. Without a header they are path and label. Paths are relative to the
    list's folder, or to a usual folder beside the list; where they lack a suffix it is found.

    Raises:
        ConvatlasError: a line that can't be understood, with its number; no lines; a first image that isn't there; or
            one file with two labels, or in two splits.
    """
    text = read_text(path)
    rows = list(_objects(path, text) if path.suffix.lower() == ".jsonl" else _table(path, text))
    if not rows:
        raise ConvatlasError(f"{path} lists no images; expected lines with a path and a label")
    has_names = path.suffix.lower() == ".jsonl" or rows[0].line > 1  # else the first row may be an unknown header
    rule = find_rule([row.path for row in rows[: _TRIED if has_names else 1]], path)
    if rule is None:
        raise ConvatlasError(
            f"{path}, line {rows[0].line}: there is no file {rows[0].path!r} in {path.parent}; expected paths relative "
            f"to the list's folder, under a header with `path` and `label` or without one"
        )
    rows, files, problems = _each_once(path, rows, rule)
    labels, classes = indexed([row.label for row in rows])
    whole = FileSplit(files, labels)
    parts: dict[Part, FileSplit] = {}
    for part in PARTS:
        if places := [i for i, row in enumerate(rows) if row.part == part]:
            parts[part] = whole.select(places)
    if "train" in parts:
        known = set(parts["train"].labels.tolist())
        for part, split in parts.items():
            if unseen := set(split.labels.tolist()) - known:
                raise ConvatlasError(f"class {classes[min(unseen)]!r} of {path} is in {part!r} and not in 'train'")
    next(iter(parts.values())).problems[:0] = problems
    return ListSource(parts, classes)


def _each_once(path: Path, rows: Sequence[_Row], rule: PathRule) -> tuple[list[_Row], list[str], list[Problem]]:
    """Rows, files and what was left out. A file that is listed again with the same label counts once.

    Raises:
        ConvatlasError: it has another label, or is in another split, there.
    """
    first: dict[str, _Row] = {}
    kept: list[_Row] = []
    files: list[str] = []
    problems: list[Problem] = []
    for row in rows:
        file = rule.file_of(row.path)
        earlier = first.setdefault(file, row)
        if earlier is row:
            kept.append(row)
            files.append(file)
            continue
        for what, its, others in (("label", row.label, earlier.label), ("split", row.part, earlier.part)):
            if its != others:
                raise ConvatlasError(
                    f"{path}: {row.path!r} has the {what} {others!r} in line {earlier.line} and {its!r} in line "
                    f"{row.line}; expected one"
                )
        problems.append(
            SourceProblem(file, f"listed in lines {earlier.line} and {row.line}; it counts once", "duplicate")
        )
    return kept, files, problems


def _table(path: Path, text: str) -> Iterator[_Row]:
    delimiter = _delimiter(text, path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not names:
                names = _header(path, cells)
                if names != ["path", "label"] or _is_header(cells):
                    continue
            if len(cells) != len(names):
                raise ConvatlasError(
                    f"{path}, line {reader.line_num}: {len(cells)} columns; expected {len(names)}: {', '.join(names)}"
                )
            yield _row(path, reader.line_num, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise ConvatlasError(f"{path}, line {reader.line_num}: {error}") from error


def _delimiter(text: str, path: Path) -> str:
    """The character that divides the first line into columns; where several would, the usual one of the suffix."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {}
    for delimiter in _DELIMITERS:
        try:
            counts[delimiter] = len(next(csv.reader([first], delimiter=delimiter), []))
        except csv.Error:  # a field above the limit of 131,072 characters
            counts[delimiter] = 0
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    if counts[usual] > 1:
        return usual
    return max(_DELIMITERS, key=lambda delimiter: (counts[delimiter], delimiter == usual))


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    """The columns' names, of which "path" and "label" are known; without a header two columns are these.

    Raises:
        ConvatlasError: a header that tells the path of an image and not which of several columns is its label.
    """
    lower = [cell.strip().lower() for cell in cells]
    paths = [name for name in _PATH_NAMES if name in lower]
    labels = [name for name in _LABEL_NAMES if name in lower and name not in paths]
    if paths and labels:
        return lower
    if paths and len(lower) == 2 and not _names_a_file(path, cells):
        return ["path" if name == paths[0] else "label" for name in lower]
    if paths and len(lower) > 2 and not _names_a_file(path, cells):
        raise ConvatlasError(
            f"{path}, line 1: no label among the columns {', '.join(lower)}; name the column of classes `label`"
        )
    return ["path", "label"]


def _is_header(cells: Sequence[str]) -> bool:
    lower = [cell.strip().lower() for cell in cells]
    return any(name in _PATH_NAMES for name in lower)


def _names_a_file(path: Path, cells: Sequence[str]) -> bool:
    """Whether a first line without a label's name is one of data: `id.png,a` lists a file, `id,breed` names columns."""
    return any(is_file(path.parent / cell.strip()) for cell in cells)


def _objects(path: Path, text: str) -> Iterator[_Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            values = parse_json(content, path)
        except ConvatlasError as error:
            reason = str(error).removeprefix(f"{path} is ")
            raise ConvatlasError(f"{path}, line {line}: {reason}") from error
        if not isinstance(values, dict):
            raise ConvatlasError(f"{path}, line {line}: a {type(values).__name__}; expected an object")
        yield _row(path, line, {str(name).strip().lower(): value for name, value in values.items()})


def _row(path: Path, line: int, values: Mapping[str, Any]) -> _Row:
    path_name = next((name for name in _PATH_NAMES if name in values), None)
    label_name = next((name for name in _LABEL_NAMES if name in values and name != path_name), None)
    part_name = next((name for name in _PART_NAMES if name in values and name not in (path_name, label_name)), None)
    image = values[path_name] if path_name else None
    label = values[label_name] if label_name else None
    if isinstance(image, int) and not isinstance(image, bool):
        image = str(image)
    if not isinstance(image, str) or not image.strip():
        raise ConvatlasError(f"{path}, line {line}: no path; expected one under any of {', '.join(_PATH_NAMES[:7])}")
    if "\0" in image:
        raise ConvatlasError(f"{path}, line {line}: the path {image[:80]!r} has a NUL in it; expected a file's name")
    if isinstance(label, bool) or not isinstance(label, (str, int)) or not str(label).strip():
        raise ConvatlasError(
            f"{path}, line {line}: no label; expected a name or number under {', '.join(_LABEL_NAMES[:4])}"
        )
    given = values[part_name] if part_name else "train"
    part = _part(given)
    if part is None:
        raise ConvatlasError(f"{path}, line {line}: part {given!r}; expected train, val or test")
    return _Row(line, image.strip(), str(label).strip(), part)


def _part(value: Any) -> Part | None:
    if not isinstance(value, str):
        return None
    return _PARTS_OF_USAGE.get(value.strip().lower()) or part_of(value)
