"""Data sets in folders: one sub-folder a class, with `train` and `val` (or `test`) above them or without."""

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from convatlas.data.encoded import FileSplit
from convatlas.structures import ConvatlasError, Problem

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
_TEST_NAMES = ("val", "test", "valid", "validation")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")


def read_folder(path: Path) -> tuple[FileSplit, FileSplit | None, tuple[str, ...]]:
    """Training part, test part (None where there is none) and the class names, sorted.

    Raises:
        ConvatlasError: no class folders, no pictures, an empty class folder, or a class that only the test part has.
    """
    top = path / "train"
    if not (top.is_dir() and _class_folders(top)):
        split, classes = read_part(path)
        return split, None, classes
    train, classes = read_part(top)
    for name in _TEST_NAMES:
        if (path / name).is_dir():
            return train, read_part(path / name, classes)[0], classes
    return train, None, classes


def strays(path: Path, taken: Iterable[str]) -> list[str]:
    """The files below a folder that are not among the pictures taken, hidden ones left out, sorted."""
    known = {os.path.realpath(file) for file in taken}
    found = []
    for parent, folders, files in os.walk(path):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        names = (os.path.join(parent, name) for name in sorted(files) if not name.startswith("."))
        found += [file for file in names if os.path.realpath(file) not in known]
    return found


def read_part(path: Path, classes: tuple[str, ...] | None = None) -> tuple[FileSplit, tuple[str, ...]]:
    """The pictures below each class folder; labels index `classes`, by default the sorted names of the folders."""
    folders = _class_folders(path)
    if not folders:
        raise ConvatlasError(f"{path} has no class folders; expected one sub-folder with pictures for each class")
    names = classes if classes is not None else tuple(folder.name for folder in folders)
    paths: list[str] = []
    labels: list[int] = []
    problems: list[Problem] = []
    empty: list[Path] = []
    for folder in folders:
        found, strange = _pictures(folder)
        if folder.name not in names and found:
            raise ConvatlasError(
                f"class {folder.name!r} of {path} is not among the training classes: {', '.join(names)}"
            )
        if not found:
            empty.append(folder)
            continue
        paths += found
        labels += [names.index(folder.name)] * len(found)
        problems += strange
    if not paths:
        raise ConvatlasError(f"{path} holds no pictures; expected files such as .jpg or .png in its class folders")
    if empty:
        raise ConvatlasError(f"class folder {empty[0]} holds no pictures; expected at least one, or no such folder")
    return FileSplit(paths, torch.tensor(labels), problems), names


def _class_folders(path: Path) -> list[Path]:
    return sorted(
        (entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))),
        key=lambda entry: entry.name,
    )


def _pictures(folder: Path) -> tuple[list[str], list[Problem]]:
    """All pictures at any depth, sorted, and the files that look like pictures under another suffix."""
    found: list[str] = []
    strange: list[Problem] = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            file = os.path.join(parent, name)
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in SUFFIXES:
                found.append(file)
            elif _looks_like_a_picture(file):
                strange.append(Problem(file, f"a picture by its first bytes, but not by its suffix {suffix!r}"))
    return found, strange


def _looks_like_a_picture(file: str) -> bool:
    try:
        with open(file, "rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
