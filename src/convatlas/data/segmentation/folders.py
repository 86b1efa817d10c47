"""Folders of images and masks: our own plain layout, PASCAL VOC's, CamVid's and Cityscapes'."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from convatlas.data import limits
from convatlas.data.folder import SUFFIXES
from convatlas.data.part_names import PARTS, part_of
from convatlas.data.segmentation.classes import CAMVID, CITYSCAPES, CITYSCAPES_TRAIN_IDS, VOC, MaskClasses
from convatlas.data.segmentation.pairing import Files, Pairs, list_files, pair, pair_in_one_folder
from convatlas.data.segmentation.reading import read_values
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.data.segmentation.tables import find_table
from convatlas.data.segmentation.values import LOOKED_AT, is_camvid, refuse_palettes, tell_classes
from convatlas.errors import ConvatlasError
from convatlas.records import VOID, Problem

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "rgb", "photos", "pictures", "inputs", "input", "x")
MASKS = (
    "masks", "mask", "labels", "label", "annotations", "annots", "annot", "gt", "gts", "groundtruth", "seg", "segs",
    "segmentation", "segmentations", "segmentationclass", "targets", "target", "y",
)  # fmt: skip
LAYOUTS = (
    "images/ and masks/ (perhaps under train/ and val/, or with these below them), VOC's JPEGImages/ and "
    "SegmentationClass/, CamVid's train/ and trainannot/, or Cityscapes' leftImg8bit/ and gtFine/"
)
_MASK_ENDING = re.compile(rf"(.+?)[ _.-]?({'|'.join(MASKS)})")


@dataclass
class _Layout:
    """What was found in a folder: (image, mask) files of each split."""

    parts: dict[str, Pairs] = field(default_factory=dict)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    classes: MaskClasses | None = None  # None: to be told from the masks

    def add(self, part: str, pairs: Pairs, problems: Iterable[Problem]) -> None:
        self.parts.setdefault(part, []).extend(pairs)
        self.problems.setdefault(part, []).extend(problems)


@dataclass(frozen=True)
class MaskFolder:
    """The splits of a folder, "train" first where it has one, the classes of the masks, and what should be known."""

    parts: dict[str, MaskSplit]
    classes: MaskClasses
    notes: tuple[str, ...] = ()


def read_masks(path: Path) -> MaskFolder:
    """All splits of a folder of images and masks.

    The classes are those that the folder names (`classes.csv`, `classes.txt`, ...), those of a known layout, or else
    the values of the masks.

    Raises:
        ConvatlasError: no layout that is known, no images with masks, or masks that can't be told apart.
    """
    layout = _find(path)
    every = [mask for part in PARTS for _, mask in layout.parts.get(part, ())]
    if not every:
        first = next((problem for problems in layout.problems.values() for problem in problems), None)
        reason = f"; the first problem: {first.path} {first.reason}" if first else ""
        raise ConvatlasError(f"{path} holds no image with a mask of the same name; expected {LAYOUTS}{reason}")
    named, notes = find_table(path) or layout.classes, ()
    if named is None or not named.told_colours:
        refuse_palettes(every)
    classes = named
    if classes is None:
        classes, notes = tell_classes(path, every)
    parts = {}
    for part in PARTS:
        if part in layout.parts:
            pairs = layout.parts[part]
            columns = [image for image, _ in pairs], [mask for _, mask in pairs]
            parts[part] = MaskSplit(*columns, classes, layout.problems.get(part, ()))
    return MaskFolder(parts, classes, notes)


def _find(path: Path) -> _Layout:
    inner = path / "VOCdevkit"
    years = sorted(inner.glob("VOC*")) if inner.is_dir() else []
    for top in (path, *reversed(years)):
        if (top / "SegmentationClass").is_dir():
            return _voc(top)
    if (path / "leftImg8bit").is_dir():
        return _cityscapes(path)
    layout = _plain(path)
    images = [image for part in layout.parts.values() for image, _ in part]
    masks = [mask for part in layout.parts.values() for _, mask in part]
    called = "camvid" in path.resolve().name.lower() or (path / "trainannot").is_dir() or is_camvid(images)
    if called and all(_fits_camvid(mask) for mask in masks[: LOOKED_AT // 5]):
        layout.classes = CAMVID
    return layout


def _voc(top: Path) -> _Layout:
    """The lists of ImageSets/Segmentation decide; the borders of the objects, 255, are void."""
    layout = _Layout(classes=VOC)
    images, masks = list_files(top / "JPEGImages"), list_files(top / "SegmentationClass")
    lists = {file.stem: file for file in (top / "ImageSets" / "Segmentation").glob("*.txt")}
    if "train" not in lists and "trainval" in lists:
        lists["train"] = lists["trainval"]
    _by_lists(layout, {part: lists[part] for part in PARTS if part in lists}, images, masks, top / "SegmentationClass")
    if not layout.parts.get("test") and "test" in layout.parts:  # its masks were never published
        del layout.parts["test"]
    if not layout.parts:
        layout.add("train", *pair(images, masks, top / "SegmentationClass"))
    return layout


def _by_lists(layout: _Layout, lists: dict[str, Path], images: Files, masks: Files, home: Path) -> None:
    """Splits as lists of names give them; what they name and is not there is a problem."""
    pairs, problems = pair(images, masks, home)
    by_stem = {Path(image).with_suffix("").as_posix(): (image, mask) for image, mask in pairs}
    found = {stem: by_stem.get(Path(files[0]).with_suffix("").as_posix()) for stem, files in images.items()}
    reasons = {problem.path: problem.reason for problem in problems}
    taken: dict[str, str] = {}
    for part in reversed(PARTS):
        if part not in lists:
            continue
        layout.add(part, [], ())
        for name in dict.fromkeys(_names(lists[part])):
            stem = next((stem for stem in _stems(name) if stem in images), None)
            own = found.get(stem) if stem is not None else None
            if stem is not None and own is not None and stem in taken:
                reason = f"named in {lists[part].name} and in the list of {taken[stem]}; training leaves it out"
                layout.add(part, [], [Problem(own[0], reason)])
            elif stem is None or own is None:
                why = f": {reasons[images[stem][0]]}" if stem is not None and images[stem][0] in reasons else ""
                reason = f"named in {lists[part].name}, but image or mask is absent{why}"
                layout.add(part, [], [Problem(name, reason)])
            else:
                layout.add(part, [own], ())
                taken[stem] = part


def _names(listing: Path) -> list[str]:
    try:
        return [line.strip() for line in limits.read_text(listing).splitlines() if line.strip()]
    except OSError as error:
        raise ConvatlasError(f"{listing} can't be read: {error.strerror or error}") from error


def _stems(line: str) -> Iterable[str]:
    """What a line of a list may name: all of it, or the first of two paths; as a place, or by its base name."""
    for name in dict.fromkeys((line, line.split()[0])):
        place, suffix = os.path.splitext(name.lstrip("/"))
        for stem in (name, place if suffix.lower() in SUFFIXES else name):
            yield stem
            yield stem.rpartition("/")[2]


def _cityscapes(path: Path) -> _Layout:
    """The masks of labelTrainIds where all have them, or else those of labelIds."""
    fine, found = path / "gtFine", {}
    for part in PARTS:
        for image in sorted((path / "leftImg8bit" / part).glob("*/*_leftImg8bit.png")):
            mask = fine / part / image.parent.name / image.name.removesuffix("_leftImg8bit.png")
            found[image] = (part, f"{mask}_gtFine_labelTrainIds.png", f"{mask}_gtFine_labelIds.png")
    trained = all(os.path.isfile(by_train) or not os.path.isfile(by_id) for _, by_train, by_id in found.values())
    layout = _Layout(classes=CITYSCAPES_TRAIN_IDS if trained else CITYSCAPES)
    for image, (part, by_train, by_id) in found.items():
        if os.path.isfile(mask := by_train if trained else by_id):
            layout.add(part, [(str(image), mask)], ())
        else:
            layout.add(part, [], [Problem(str(image), f"has no mask in {fine}")])
    layout.parts = {part: pairs for part, pairs in layout.parts.items() if pairs}  # the test split has no masks
    return layout


def _plain(path: Path) -> _Layout:
    layout = _Layout()
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for folder in folders:  # train/images and train/masks, or train and trainannot, train_labels ...
        if part := part_of(folder.name):
            images, masks = _below(folder, IMAGES), _below(folder, MASKS)
            masks = masks or _mask_sibling(folder, folders)
            if masks is not None:
                layout.add(part, *pair(list_files(images or folder), list_files(masks), masks))
    if layout.parts:
        return layout
    images, masks = _below(path, IMAGES), _below(path, MASKS)
    if images is None or masks is None:
        pairs, problems = pair_in_one_folder(path)
        if not pairs:
            raise ConvatlasError(f"{path} has no folders of images and masks; expected {LAYOUTS}")
        layout.add("train", pairs, problems)
        return layout
    for folder in sorted(entry for entry in images.iterdir() if entry.is_dir()):
        if (part := part_of(folder.name)) and (home := _same_part(masks, part)):
            layout.add(part, *pair(list_files(folder), list_files(home), home))
    lists = _lists(path)
    if lists and not layout.parts:
        _by_lists(layout, lists, list_files(images), list_files(masks), masks)
    elif not layout.parts:
        layout.add("train", *pair(list_files(images), list_files(masks), masks))
    return layout


def _lists(path: Path) -> dict[str, Path]:
    """Split -> text file of names, in the folder, its `splits` or as VOC has them; without train there are none."""
    for home in (path, path / "splits", path / "ImageSets" / "Segmentation", path / "ImageSets"):
        found = {part: file for file in sorted(home.glob("*.txt")) if (part := part_of(file.stem))}
        if "train" in found:
            return found
    return {}


def _same_part(folder: Path, part: str) -> Path | None:
    return next((entry for entry in sorted(folder.iterdir()) if entry.is_dir() and part_of(entry.name) == part), None)


def _mask_sibling(folder: Path, folders: Sequence[Path]) -> Path | None:
    """The folder of masks beside one of images: trainannot, train_labels, train-masks."""
    for other in folders:
        match = _MASK_ENDING.fullmatch(other.name.lower())
        if other != folder and match and part_of(match[1]) == part_of(folder.name):
            return other
    return None


def _fits_camvid(mask: str) -> bool:
    """Whether a mask holds nothing but 0 to 11 and 255, as far as it can be read."""
    try:
        values = read_values(mask)
    except ConvatlasError:
        return True  # the loader will name it
    return values.ndim == 2 and bool(np.isin(values, [*range(12), VOID]).all())


def _below(path: Path, names: Sequence[str]) -> Path | None:
    """The first folder of one of these names that has images in it, in any case.

    Raises:
        ConvatlasError: two of them have, so that nothing says which is meant.
    """
    found = [entry for entry in path.iterdir() if entry.is_dir() and entry.name.lower().replace("_", "") in names]
    found.sort(key=lambda entry: names.index(entry.name.lower().replace("_", "")))
    full = [entry for entry in found if list_files(entry)]
    if len(full) > 1:
        raise ConvatlasError(
            f"{full[0]} and {full[1]} both hold images; expected one of them, so that it is clear which is meant"
        )
    return (full or found or [None])[0]
