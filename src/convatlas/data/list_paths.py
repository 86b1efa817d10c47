"""Where the images of a list lie: beside it or in a usual folder, perhaps with a suffix that the list leaves out."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath

from convatlas.data.files import SUFFIXES, is_image_name

_FOLDERS = (
    "images",
    "imgs",
    "img",
    "image",
    "data",
    "train",
    "train_images",
    "train_imgs",
    "photos",
    "pictures",
    "jpg",
)
_USUAL = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")


@dataclass(frozen=True)
class PathRule:
    """How a list's paths become files: below which folder, and whether their suffix has to be found."""

    folder: Path
    adds_suffix: bool
    is_windows: bool  # backslashes stand between folders

    @cached_property
    def suffixes(self) -> tuple[str, ...]:
        return (*_USUAL, *sorted(SUFFIXES - set(_USUAL)))

    def file_of(self, name: str) -> str:
        """The file of a path, whether it is there or not."""
        path = self.folder / (PureWindowsPath(name).as_posix() if self.is_windows else name)
        if self.adds_suffix and not is_image_name(path.name):
            found = next((f"{path}{suffix}" for suffix in self.suffixes if is_file(f"{path}{suffix}")), None)
            return found or f"{path}{self.suffixes[0]}"
        return str(path)


def find_rule(names: Sequence[str], path: Path) -> PathRule | None:
    """The first rule that finds one of these images of a list; None where none finds any."""
    for name in names:
        for rule in _rules(path, name):
            if is_file(rule.file_of(name)):
                return rule
    return None


def is_file(path: str | Path) -> bool:
    """Whether a regular file is there; False for names that no file can have."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _rules(path: Path, name: str) -> Iterator[PathRule]:
    parent = path.parent
    beside = [parent / folder for folder in (path.stem, f"{path.stem}_images", *_FOLDERS)]
    above = [parent.absolute().parent] if name.replace("\\", "/").startswith(f"{parent.absolute().name}/") else []
    for folder in (parent, *beside, *above):
        for is_windows in (False, True) if "\\" in name else (False,):
            for adds_suffix in (False, True) if not is_image_name(name) else (False,):
                yield PathRule(folder, adds_suffix, is_windows)
