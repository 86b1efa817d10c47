"""Data sets in lists: .csv and .tsv files with or without a header, and .jsonl files with one object a line."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from convatlas.data.encoded import FileSplit
from convatlas.data.labels import indexed
from convatlas.structures import ConvatlasError

SUFFIXES = (".csv", ".tsv", ".jsonl")
_PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image")
_LABEL_NAMES = ("label", "class", "category", "target")
_PART_NAMES = ("split", "part")
_TEST_PARTS = ("val", "valid", "validation", "test")  # in this order, where a list has several


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    part: str


def read_list(path: Path) -> tuple[FileSplit, FileSplit | None, tuple[str, ...]]:
    """Training part, test part (None where the list tells none) and class names, sorted.

    Columns are known by their names in a header or an object: `path` (or file, filename, image ...), `label` (or
    class, category, target) and perhaps `split` with train, and val or test. Without a header they are path and label.
    Paths are relative to the list's folder.

    Raises:
        ConvatlasError: a line that can't be understood, with its number; no lines; or a first picture that isn't there.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(_objects(path, stream) if path.suffix.lower() == ".jsonl" else _table(path, stream))
    except UnicodeDecodeError as error:
        raise ConvatlasError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if not rows:
        raise ConvatlasError(f"{path} lists no pictures; expected lines with a path and a label")
    if not (path.parent / rows[0].path).is_file():
        raise ConvatlasError(
            f"{path}, line {rows[0].line}: there is no file {rows[0].path!r} in {path.parent}; expected paths relative "
            f"to the list's folder, under a header with `path` and `label` or without one"
        )
    labels, classes = indexed([row.label for row in rows])
    files = [str(path.parent / row.path) for row in rows]
    parts = {row.part for row in rows}
    test_part = next((name for name in _TEST_PARTS if name in parts), None)
    if test_part is None:
        return FileSplit(files, labels), None, classes
    train = [i for i, row in enumerate(rows) if row.part == "train"]
    if not train:
        raise ConvatlasError(f"{path} has pictures of the part {test_part!r} and none of 'train'; expected both")
    held_out = [i for i, row in enumerate(rows) if row.part == test_part]
    whole = FileSplit(files, labels)
    if unseen := set(labels[held_out].tolist()) - set(labels[train].tolist()):
        raise ConvatlasError(f"class {classes[min(unseen)]!r} of {path} is in {test_part!r} and not in 'train'")
    return whole.select(train), whole.select(held_out), classes


def _table(path: Path, stream: Iterable[str]) -> Iterator[_Row]:
    reader = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    names: list[str] = []
    try:
        for cells in reader:
            if not cells:
                continue
            if not names:
                lower = [cell.strip().lower() for cell in cells]
                is_header = any(n in lower for n in _PATH_NAMES) and any(n in lower for n in _LABEL_NAMES)
                names = lower if is_header else ["path", "label"]
                if is_header:
                    continue
            if len(cells) != len(names):
                raise ConvatlasError(
                    f"{path}, line {reader.line_num}: {len(cells)} columns; expected {len(names)}: {', '.join(names)}"
                )
            yield _row(path, reader.line_num, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise ConvatlasError(f"{path}, line {reader.line_num}: {error}") from error


def _objects(path: Path, stream: Iterable[str]) -> Iterator[_Row]:
    for line, text in enumerate(stream, start=1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConvatlasError(f"{path}, line {line}: not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(values, dict):
            raise ConvatlasError(f"{path}, line {line}: a {type(values).__name__}; expected an object")
        yield _row(path, line, values)


def _row(path: Path, line: int, values: Mapping[str, Any]) -> _Row:
    picture = next((values[name] for name in _PATH_NAMES if name in values), None)
    label = next((values[name] for name in _LABEL_NAMES if name in values), None)
    part = next((values[name] for name in _PART_NAMES if name in values), "train")
    if not isinstance(picture, str) or not picture.strip():
        raise ConvatlasError(f"{path}, line {line}: no path; expected one under any of {', '.join(_PATH_NAMES)}")
    if isinstance(label, bool) or not isinstance(label, (str, int)) or not str(label).strip():
        raise ConvatlasError(
            f"{path}, line {line}: no label; expected a name or number under {', '.join(_LABEL_NAMES)}"
        )
    if part not in ("train", *_TEST_PARTS):
        raise ConvatlasError(f"{path}, line {line}: part {part!r}; expected train, {', '.join(_TEST_PARTS)}")
    return _Row(line, picture.strip(), str(label).strip(), part)
