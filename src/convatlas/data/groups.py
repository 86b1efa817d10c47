"""Many files as one data set: patterns of names, and the parts that the names tell."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from convatlas.structures import ConvatlasError, UsageError

SUFFIXES = (".tar", ".parquet")
_TEST_NAMES = ("val", "valid", "validation", "test")  # in this order, where several are there
_PART = re.compile(r"(?:^|[-_.])(train|val|valid|validation|test)(?=[-_.0-9]|$)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 1_000_000  # files of one pattern


def is_pattern(spec: str) -> bool:
    return "::" in spec or any(character in spec for character in "*?[{")


def expand(spec: str) -> list[Path]:
    """The files of a pattern: braces as in `a-{000..127}.tar` or `{train,extra}-*.tar`, wildcards, joined by `::`.

    Raises:
        UsageError: a piece of the pattern fits no file, or the files are of several kinds.
    """
    found: list[Path] = []
    for piece in spec.split("::"):
        for name in _braces(str(Path(piece).expanduser())):
            matches = sorted(glob.glob(name)) if any(c in name for c in "*?[") else [name]
            files = [Path(match) for match in matches if Path(match).is_file()]
            if not files:
                raise UsageError(f"data {spec!r}: no file {name!r}; expected .tar or .parquet files")
            found += files
    if len({path.suffix for path in found}) > 1 or found[0].suffix not in SUFFIXES:
        raise UsageError(f"data {spec!r} names {found[0].name} and others; expected only .tar or only .parquet files")
    return found


def in_folder(path: Path) -> list[Path]:
    """The .tar or .parquet files of a folder, or of `data` within it, as Hugging Face has it; [] where none are."""
    for folder in (path, path / "data"):
        for suffix in SUFFIXES:
            if files := sorted(folder.glob(f"*{suffix}")):
                return files
    return []


def by_part(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Training and test files by their names: `train-0007.tar`, `x_val_3.tar`. Without such names all are for training.

    Raises:
        ConvatlasError: there are test files and none for training.
    """
    parts = [match.group(1) if (match := _PART.search(file.name)) else None for file in files]
    test_name = next((name for name in _TEST_NAMES if name in parts), None)
    train = [file for file, part in zip(files, parts, strict=True) if part == "train"]
    if test_name is None:
        return list(files), []
    if not train:
        if len(set(parts)) == 1:
            return list(files), []
        raise ConvatlasError(f"{files[0].parent} has files of {test_name!r} and none of 'train'; expected both")
    return train, [file for file, part in zip(files, parts, strict=True) if part == test_name]


def _braces(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    if bounds := _RANGE.fullmatch(match.group(1)):
        low, high = bounds.groups()
        if not int(low) <= int(high) < int(low) + _MOST:
            raise UsageError(f"{{{match.group(1)}}} does not ascend, or by more than {_MOST:,}; expected {{000..127}}")
        choices = [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
    else:
        choices = match.group(1).split(",")
    for choice in choices:
        yield from _braces(pattern[: match.start()] + choice + pattern[match.end() :])
