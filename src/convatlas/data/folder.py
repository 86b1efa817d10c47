"""Data sets in folders: one sub-folder a class, with the splits above or below them or without any."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from convatlas.data.encoded import FileSplit
from convatlas.data.files import (
    SUFFIXES,
    SourceProblem,
    Walk,
    count_images,
    has_images,
    is_junk,
    loose_images,
    sub_folders,
    walk_images,
)
from convatlas.data.part_names import PARTS, Part, find_parts, part_of
from convatlas.errors import ConvatlasError
from convatlas.records import Problem

__all__ = ["SUFFIXES", "FolderSource", "read_folder", "strays"]

_MAX_NESTING = 8  # folders that hold nothing but one folder
_WRAPPERS = ("images", "imgs", "data", "classes", "pictures", "photos")  # between a split's folder and its classes
_SHOWN = 3
_LISTS = (".csv", ".tsv", ".jsonl", ".txt")


@dataclass(frozen=True)
class FolderSource:
    """The splits of a folder, train first, and its classes, sorted. What isn't read is in the splits' `problems`."""

    parts: dict[Part, FileSplit]
    classes: tuple[str, ...]


@dataclass
class _Layout:
    """Which folders hold a class's images, by split and class, before any file is looked at."""

    folders: dict[Part, dict[str, list[Path]]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_folder(path: Path) -> FolderSource:
    """The images of a folder with one sub-folder a class, which may lie in folders of splits or contain such.

    Splits are known by their usual names in any case: `train`, `Training`, `training_set`; `val`, `valid`,
    `validation`; `test`, `test_set` ... Folders that hold nothing but one folder are passed through: `data/data/train`.
    Without folders of splits all images are in "train".

    Raises:
        OSError: the folder can't be read.
        ConvatlasError: no class folders, no images, an empty class folder, a class that "train" lacks, two folders for
            one split, or splits without class folders.
    """
    top = _pass_through(path)
    layout = _find_layout(top, path)
    classes = _class_names(layout)
    parts: dict[Part, FileSplit] = {}
    for part in PARTS:
        if part in layout.folders:
            parts[part] = _read_part(layout.folders[part], classes)
    next(iter(parts.values())).problems[:0] = layout.problems
    return FolderSource(parts, classes)


def strays(path: Path, taken: Iterable[str]) -> list[str]:
    """The files below a folder that are not among the images taken, hidden ones left out, sorted."""
    known = {os.path.realpath(file) for file in taken}
    others = []
    for parent, folders, files in os.walk(path):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        names = (os.path.join(parent, name) for name in sorted(files) if not name.startswith("."))
        others += [file for file in names if os.path.realpath(file) not in known]
    return others


def _pass_through(path: Path) -> Path:
    """The first folder on the way down that holds more than one folder, or images."""
    for _ in range(_MAX_NESTING):
        folders, _ = sub_folders(path)
        if len(folders) != 1 or part_of(folders[0].name) or loose_images(path):
            return path
        if not any(has_images(inner) for inner in sub_folders(folders[0])[0]):
            return path
        path = folders[0]
    return path


def _find_layout(top: Path, path: Path) -> _Layout:
    folders, problems = sub_folders(top)
    by_name = {folder.name: folder for folder in folders}
    groups = find_parts(by_name)
    classes_in = {name: _class_folders(by_name[name]) for names in groups.values() for name in names}
    with_classes: dict[Part, list[str]] = {}
    for part, names in groups.items():
        if usable := [name for name in names if classes_in[name]]:
            with_classes[part] = usable
    flat = [name for name, classes in classes_in.items() if not classes and has_images(by_name[name])]
    others = [folder for folder in folders if part_of(folder.name) is None and has_images(folder)]
    if with_classes and ("train" in with_classes or not others):
        _refuse_ambiguous(top, with_classes, others)
        layout = _Layout({}, problems)
        for part, names in with_classes.items():
            layout.folders[part] = classes_in[names[0]]
            layout.problems += _loose(by_name[names[0]], "split")
        layout.problems += [_left_out(folder, "belong to no split") for folder in others]
        layout.problems += [_left_out(by_name[name], "have no class folders, so no labels") for name in flat]
        layout.problems += _loose(top, "folder")
        return layout
    if flat and (len(flat) > 1 or not others):
        raise ConvatlasError(
            f"{top} holds images in {' and '.join(map(repr, flat))} without class folders; expected one sub-folder "
            f"with images for each class in them{_list_hint(top, path)}"
        )
    if not folders:
        raise ConvatlasError(
            f"{top} has no class folders; expected one sub-folder with images for each class{_list_hint(top, path)}"
        )
    return _plain_layout(top, folders, [*problems, *_loose(top, "folder"), *_split_names(folders)])


def _plain_layout(top: Path, folders: Sequence[Path], problems: list[Problem]) -> _Layout:
    """Classes directly in the folder, or splits within every class."""
    inner = {folder.name: sub_folders(folder)[0] for folder in folders}
    layout = _Layout({}, problems)
    parts = [find_parts(sub.name for sub in subs) for subs in inner.values()]
    whole = all(sum(map(len, found.values())) == len(subs) for found, subs in zip(parts, inner.values(), strict=True))
    if whole and all(len(found) > 1 and "train" in found for found in parts) and len(folders) > 1:
        for folder in folders:
            layout.problems += _loose(folder, "class")
            for sub in inner[folder.name]:
                part = part_of(sub.name) or "train"
                layout.folders.setdefault(part, {}).setdefault(folder.name, []).append(sub)
        return layout
    layout.folders["train"] = {folder.name: [folder] for folder in folders}
    return layout


def _class_folders(part: Path) -> dict[str, list[Path]]:
    """Class folders of a split by their names; {} where it has none with images."""
    top = part
    for _ in range(_MAX_NESTING):
        folders, _ = sub_folders(top)
        is_wrapper = len(folders) == 1 and (part_of(folders[0].name) or folders[0].name.lower() in _WRAPPERS)
        inner = sub_folders(folders[0])[0] if is_wrapper and not loose_images(top) else []
        if not any(has_images(folder) for folder in inner):
            break
        top = folders[0]
    folders, _ = sub_folders(top)
    return {folder.name: [folder] for folder in folders} if any(has_images(folder) for folder in folders) else {}


def _class_names(layout: _Layout) -> tuple[str, ...]:
    """Those of the training split; where there is none, of all others together."""
    named = [layout.folders["train"]] if "train" in layout.folders else list(layout.folders.values())
    return tuple(sorted({name for folders in named for name in folders}))


def _read_part(folders: dict[str, list[Path]], classes: tuple[str, ...]) -> FileSplit:
    """The images of each class folder; labels index `classes`."""
    paths: list[str] = []
    labels: list[int] = []
    problems: list[Problem] = []
    walks: dict[str, Walk] = {}
    empty: list[Path] = []
    for name, its_folders in folders.items():
        for folder in its_folders:
            walk = walk_images(folder)
            problems += walk.problems
            if not walk.images:
                empty.append(folder)
                continue
            walks[name] = walk
            label = _label(name, classes, folder)
            paths += walk.images
            labels += [label] * len(walk.images)
    if not paths:
        top = next(iter(folders.values()))[0].parent
        raise ConvatlasError(f"{top} holds no images; expected files such as .jpg or .png in its class folders")
    if empty:
        kinds = sorted({os.path.splitext(problem.path)[1] for problem in problems} - {""})
        what = f", but {', '.join(kinds)} files" if kinds else ""
        raise ConvatlasError(f"class folder {empty[0]} holds no images{what}; expected at least one, or no such folder")
    return FileSplit(paths, torch.tensor(labels), [*problems, *_nested(walks, next(iter(folders.values()))[0].parent)])


def _label(name: str, classes: tuple[str, ...], folder: Path) -> int:
    """By its name; by its name in another case or another spelling of accents, where that is unambiguous."""
    if name in classes:
        return classes.index(name)
    near = [i for i, other in enumerate(classes) if _plain(other) == _plain(name)]
    if len(near) == 1:
        return near[0]
    raise ConvatlasError(f"class {name!r} of {folder.parent} is not among the training classes: {', '.join(classes)}")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _refuse_ambiguous(top: Path, parts: dict[Part, list[str]], others: Sequence[Path]) -> None:
    for part, names in parts.items():
        if len(names) > 1:
            raise ConvatlasError(
                f"{top} has {' and '.join(map(repr, names))}, which both look like the {part} split; rename one of them"
            )
    with_images = [folder.name for folder in others if loose_images(folder)]
    if list(parts) == ["train"] and len(with_images) > 1:
        raise ConvatlasError(
            f"{top} has 'train' with folders in it beside {', '.join(map(repr, with_images[:_SHOWN]))} with images: is "
            f"'train' a split or a class? Move the images of a class out of its sub-folders, or the others away"
        )


def _nested(walks: dict[str, Walk], top: Path) -> list[Problem]:
    """Classes that all hold the same sub-folders are perhaps splits or folds, and the sub-folders the classes."""
    if len(walks) < 2:
        return []
    shared = sorted(set.intersection(*(walk.folders for walk in walks.values())))
    split_names = [name for name in shared if part_of(name)]
    if len(shared) < 2 and not split_names:
        return []
    looks = "splits within classes" if split_names else "splits or folds, and not like classes"
    names = ", ".join(list(walks)[:_SHOWN])
    reason = (
        f"the classes {names} all hold the sub-folders {', '.join(shared[:_SHOWN])}: they look like {looks}; "
        "name the folders of splits train, val and test"
    )
    return [SourceProblem(str(top), reason, "nested")]


def _split_names(folders: Sequence[Path]) -> list[Problem]:
    """Folders that are taken for classes, although they are called like splits."""
    reason = "it is read as a class, although it is called like a split"
    return [SourceProblem(str(folder), reason, "split name") for folder in folders if part_of(folder.name)]


def _loose(folder: Path, what: str) -> list[Problem]:
    names = loose_images(folder)
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN])
    return [SourceProblem(str(folder), f"{len(names):,} images lie directly in this {what} and have no class: {shown}")]


def _left_out(folder: Path, why: str) -> Problem:
    return SourceProblem(str(folder), f"its {count_images(folder):,} images {why}")


def _list_hint(*folders: Path) -> str:
    """A list that lies in one of the folders, which may be what was meant."""
    for folder in folders:
        for entry in sorted(folder.iterdir()):
            if entry.suffix.lower() in _LISTS[:3] and entry.is_file() and not is_junk(entry.name):
                return f"; if {entry.name} tells the labels, give {entry} as the data"
    return ""
