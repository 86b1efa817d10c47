"""Many files as one data set: patterns of names, and the parts that the names tell."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from convatlas.data.files import is_junk
from convatlas.data.part_names import PARTS, Part, part_in
from convatlas.errors import UsageError

SUFFIXES = (".tar", ".parquet")
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
            if files := sorted(file for file in folder.glob(f"*{suffix}") if not is_junk(file.name) and file.is_file()):
                return files
    return []


def by_part(files: Sequence[Path]) -> dict[Part, list[Path]]:
    """Files by split, train first, told by a word of their names: `train-0007.tar`, `x_val_3.tar`.

    Files without such a word are for training, and so are all where they have the same one.
    """
    groups: dict[Part, list[Path]] = {}
    for file in files:
        groups.setdefault(part_in(file.name.partition(".tar")[0].partition(".parquet")[0]) or "train", []).append(file)
    if len(groups) == 1:
        return {"train": list(files)}
    return {part: groups[part] for part in PARTS if part in groups}


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
