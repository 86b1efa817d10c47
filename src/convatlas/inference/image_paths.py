"""Which files are meant by the paths, folders and patterns of a command line."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from convatlas.data.files import SUFFIXES, is_junk
from convatlas.records import Problem


def find_images(inputs: Iterable[str | Path]) -> tuple[list[Path], list[Problem]]:
    """The images in order, each once: files as named, folders recursively by suffix, patterns such as "*.png"."""
    found: dict[Path, None] = {}
    problems = []
    for item in inputs:
        paths = list(expand(str(item)))
        if not paths:
            problems.append(Problem(str(item), why_nothing(Path(item))))
        found.update(dict.fromkeys(paths))
    return list(found), problems


def expand(item: str) -> Iterator[Path]:
    path = Path(item)
    if path.is_dir():
        inside = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        yield from sorted(p for p in inside if not any(map(is_junk, p.relative_to(path).parts)))
    elif path.exists():
        yield path
    elif glob.has_magic(item):
        for match in sorted(glob.glob(item, recursive=True)):
            if Path(match).is_file():
                yield Path(match)


def why_nothing(path: Path) -> str:
    if path.is_dir():
        return "no image in this folder"
    return "no file matches" if glob.has_magic(str(path)) else "no such file"
