"""Which mask belongs to which image: by the same name, but for what people add to the names of masks."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from convatlas.data.folder import SUFFIXES
from convatlas.records import Problem

_MASK_WORDS = (
    "mask", "masks", "label", "labels", "gt", "groundtruth", "ground_truth", "seg", "segmentation", "annotation",
    "annot", "l", "p", "labelids", "labeltrainids", "truth", "target",
)  # fmt: skip
_IMAGE_WORDS = ("image", "img", "sat", "rgb", "leftimg8bit", "photo", "input")
_SEPARATORS = "_-. "

Pairs = list[tuple[str, str]]
Files = dict[str, list[str]]  # place without the ending -> files


class Paired(NamedTuple):
    """Images with their masks, and what has no partner or more than one."""

    pairs: Pairs
    problems: list[Problem]


def list_files(folder: Path) -> Files:
    """The image files below a folder, by their place in it without the ending."""
    found: Files = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                place = os.path.relpath(os.path.join(parent, name), folder)
                found.setdefault(Path(place).with_suffix("").as_posix(), []).append(os.path.join(parent, name))
    return found


def pair(images: Files, masks: Files, home: Path) -> Paired:
    """Images and masks of the same name, or of the same but for a word that says which of the two it is."""
    by_stem = _by_plain(masks, ())
    plain = _by_plain(masks, _MASK_WORDS)
    pairs: Pairs = []
    problems: list[Problem] = []
    used: set[str] = set()
    for stem, files in images.items():
        key = stem.lower()
        found = masks.get(stem) or by_stem.get(key) or plain.get(key) or plain.get(_strip(key, _IMAGE_WORDS)) or []
        used.update(found)
        if len(files) > 1:
            reason = f"{len(files)} images have the name of one mask: {', '.join(map(os.path.basename, files))}"
            problems += [Problem(file, reason) for file in files]
        elif not found:
            problems.append(Problem(files[0], f"has no mask in {home}"))
        elif len(found) > 1:
            several = ", ".join(os.path.basename(mask) for mask in sorted(found)[:3])
            problems.append(Problem(files[0], f"has no mask of its own: {len(found)} could be, {several}"))
        else:
            pairs.append((files[0], found[0]))
    lonely = [mask for files in masks.values() for mask in files if mask not in used]
    return Paired(pairs, [*problems, *(Problem(mask, NO_IMAGE) for mask in lonely)])


NO_IMAGE = "a mask without an image"


def pair_in_one_folder(folder: Path) -> Paired:
    """Images and masks side by side, where the masks' names say what they are."""
    files = list_files(folder)
    masks = {stem: own for stem, own in files.items() if _strip(stem.lower(), _MASK_WORDS) != stem.lower()}
    images = {stem: own for stem, own in files.items() if stem not in masks}
    return pair(images, masks, folder)


def _by_plain(files: Mapping[str, list[str]], words: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for stem, own in files.items():
        found.setdefault(_strip(stem.lower(), words), []).extend(own)
    return found


def _strip(stem: str, words: Iterable[str]) -> str:
    """Without a word at the end or the beginning of the file's name, with a separator between."""
    folder, slash, name = stem.rpartition("/")
    for word in sorted(words, key=len, reverse=True):
        for separator in _SEPARATORS:
            if name.endswith(separator + word) and len(name) > len(word) + 1:
                return folder + slash + name[: -len(word) - 1].rstrip(_SEPARATORS)
            if name.startswith(word + separator) and len(name) > len(word) + 1 and len(word) > 1:
                return folder + slash + name[len(word) + 1 :].lstrip(_SEPARATORS)
    return stem
