"""Which file an annotation means: by its place, by its place with another suffix, or by a base name that is unique."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from convatlas.data.folder import SUFFIXES

_USUAL = ("images", "JPEGImages", "image", "imgs", "img")
_MAX_LISTED = 300_000  # files below the folders; where there are more, base names are not looked for


class ImageFinder:
    """Image files by the names that annotations give them.

    A name is taken as a path from each folder in turn, as it is or with another image suffix. Only then is its base
    name looked for below the folders, and taken if one file has it and no other annotated name.

    Args:
        folders: where names may begin, the likeliest first.
        wanted: all names that will be asked for.
    """

    def __init__(self, folders: Sequence[Path], wanted: Iterable[str] = ()) -> None:
        self.folders = [str(folder) for folder in folders]
        self._claims: dict[str, set[str]] = {}
        for name in set(wanted):
            self._claims.setdefault(_base(name), set()).add(_normal(name))
        self._below: dict[str, dict[str, str]] | None = None  # base name -> real path -> path

    def find(self, name: str) -> str | None:
        """The file of this name, or None where there is none, or more than one that it could be."""
        return self.at_place(name) or self.by_base(name)

    def at_place(self, name: str) -> str | None:
        """The file at this path below one of the folders, perhaps with another suffix."""
        for plain in dict.fromkeys((_normal(name), unquote(_normal(name)))):
            if not plain or "\0" in plain:
                continue
            for folder in self.folders:
                if _is_image(file := os.path.join(folder, plain)):
                    return file
            for folder in self.folders:
                if files := _other_suffixes(os.path.join(folder, plain)):
                    return files.pop() if len(files) == 1 else None
        return None

    def by_base(self, name: str) -> str | None:
        """The only file below the folders with this base name, if no other name asks for it."""
        base = _base(name)
        if not base or len(self._claims.get(base, ())) > 1:
            return None
        if self._below is None:
            self._below = self._list()
        files = list(self._below.get(base, {}).values())
        exact = [file for file in files if os.path.basename(file) == os.path.basename(_normal(name))]
        chosen = exact or files
        return chosen[0] if len(chosen) == 1 else None

    def explain(self, name: str) -> str:
        """Why `find` has no file for a name."""
        files = (self._below or {}).get(_base(name), {}).values()
        if not files:
            return f"its image {name!r} is not there"
        others = self._claims.get(_base(name), set()) - {_normal(name)}
        reason = f"{sorted(others)[0]!r} is annotated too" if others else f"{len(files)} files have that base name"
        return f"its image {name!r} is not there; {min(files)} is not taken for it, since {reason}"

    def _list(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        count = 0
        for folder in self.folders:
            for parent, folders, files in os.walk(folder):
                folders[:] = [inner for inner in folders if not inner.startswith(".")]
                count += len(files)
                if count > _MAX_LISTED:
                    return {}
                for file in files:
                    if os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith("."):
                        path = os.path.join(parent, file)
                        found.setdefault(_base(file), {}).setdefault(os.path.realpath(path), path)
        return found


def image_folders(annotation: Path, *names: str) -> list[Path]:
    """Where the images of an annotation file or folder may lie: with it, beside it, or one folder further up."""
    home = annotation if annotation.is_dir() else annotation.parent
    usual = (*_USUAL, *names)
    folders = [home]
    for above in (home, home.parent, home.parent.parent):
        folders += [above / name / home.name for name in usual]
        folders += [above / name for name in usual]
    folders += [home.parent / home.name / name for name in usual]
    folders += [home.parent.parent / home.name, home.parent.parent / home.name / "images"]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _normal(name: str) -> str:
    plain = name.strip().replace("\\", "/")
    return plain.removeprefix("./")


def _base(name: str) -> str:
    base = PurePosixPath(_normal(name)).name
    stem, suffix = os.path.splitext(base)
    return (stem if suffix.lower() in SUFFIXES else base).lower()


def _is_image(file: str) -> bool:
    return os.path.splitext(file)[1].lower() in SUFFIXES and os.path.isfile(file)


def _other_suffixes(file: str) -> set[str]:
    stem, suffix = os.path.splitext(file)
    stems = (stem,) if suffix.lower() in SUFFIXES else (file,)
    candidates = (stem + end for stem in stems for low in SUFFIXES for end in (low, low.upper()))
    return {candidate for candidate in candidates if os.path.isfile(candidate)}
