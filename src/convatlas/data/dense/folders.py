"""Folders of pictures and masks: our own plain layout, PASCAL VOC's, CamVid's and Cityscapes'."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convatlas.data.dense.classes import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_TRAIN_IDS,
    VOC,
    MaskClasses,
    alike,
    find_table,
    read_values,
    voc_colours,
)
from convatlas.data.dense.splits import MaskSplit
from convatlas.data.folder import SUFFIXES
from convatlas.structures import VOID, ConvatlasError, Problem

IMAGES, MASKS = ("images", "image", "imgs"), ("masks", "mask", "labels", "label", "annotations", "gt")
TRAIN, TEST = ("train", "training"), ("val", "validation", "valid", "test")
LAYOUTS = (
    "images/ and masks/ (perhaps under train/ and val/, or with these below them), VOC's JPEGImages/ and "
    "SegmentationClass/, CamVid's train/ and trainannot/, or Cityscapes' leftImg8bit/ and gtFine/"
)
_LOOKED_AT = 200  # masks whose values tell the classes, where nothing names them
_MASK_ENDINGS = ("_mask", "_label", "_labels", "_gt", "_L", "_labelIds", "_labelTrainIds", "_seg")

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Layout:
    """What was found in a folder: (picture, mask) files of each part."""

    train: Pairs
    test: Pairs | None
    classes: MaskClasses | None  # None: to be told from the masks
    problems: tuple[Problem, ...] = ()


def read_masks_folder(path: Path) -> tuple[MaskSplit, MaskSplit | None, MaskClasses]:
    """Training part, test part (None where there is none) and the classes.

    The classes are those that the folder names (`classes.csv`, `classes.txt`), those of a known layout, or else the
    values of the masks.

    Raises:
        ConvatlasError: no layout that is known, no pictures with masks, or masks that can't be told apart.
    """
    layout = _find(path)
    every = [*layout.train, *(layout.test or [])]
    if not every:
        raise ConvatlasError(f"{path} holds no picture with a mask of the same name; expected {LAYOUTS}")
    classes = find_table(path) or layout.classes or _told_by_values(path, [mask for _, mask in every])
    train = MaskSplit(*_columns(layout.train), classes, layout.problems)
    return train, None if layout.test is None else MaskSplit(*_columns(layout.test), classes), classes


def _columns(pairs: Pairs) -> tuple[list[str], list[str]]:
    return [image for image, _ in pairs], [mask for _, mask in pairs]


def _find(path: Path) -> Layout:
    inner = path / "VOCdevkit"
    years = sorted(inner.glob("VOC*")) if inner.is_dir() else []
    for top in (path, *reversed(years)):
        if (top / "SegmentationClass").is_dir():
            return _voc(top)
    if (path / "leftImg8bit").is_dir():
        return _cityscapes(path)
    if (path / "trainannot").is_dir() and (path / "train").is_dir():
        return _segnet_camvid(path)
    return _plain(path)


def _voc(top: Path) -> Layout:
    """The lists of ImageSets/Segmentation decide; the borders of the objects, 255, are void."""
    images, masks = _files(top / "JPEGImages"), _files(top / "SegmentationClass")
    parts: dict[str, Pairs] = {}
    problems: list[Problem] = []
    for name in ("train", "val", "trainval"):
        listing = top / "ImageSets" / "Segmentation" / f"{name}.txt"
        if not listing.is_file() or (name == "trainval" and "train" in parts):
            continue
        wanted = listing.read_text().split()
        lost = [stem for stem in wanted if stem not in images or stem not in masks]
        problems += [Problem(stem, f"named in {listing.name}, but picture or mask is absent") for stem in lost]
        parts[name] = [(images[stem], masks[stem]) for stem in wanted if stem not in lost]
    if not parts:
        parts["train"], lonely = _joined(images, masks)
        problems += _without_masks(lonely, top / "SegmentationClass")
    train = parts.get("train") or parts.get("trainval") or []
    return Layout(train, parts.get("val"), VOC, tuple(problems))


def _cityscapes(path: Path) -> Layout:
    """The masks of labelTrainIds where all have them, or else those of labelIds."""
    fine, found = path / "gtFine", {}
    for part in ("train", "val"):
        for image in sorted((path / "leftImg8bit" / part).glob("*/*_leftImg8bit.png")):
            mask = fine / part / image.parent.name / image.name.removesuffix("_leftImg8bit.png")
            found[image] = (part, f"{mask}_gtFine_labelTrainIds.png", f"{mask}_gtFine_labelIds.png")
    trained = all(os.path.isfile(by_train) or not os.path.isfile(by_id) for _, by_train, by_id in found.values())
    parts: dict[str, Pairs] = {"train": [], "val": []}
    lonely = []
    for image, (part, by_train, by_id) in found.items():
        if os.path.isfile(mask := by_train if trained else by_id):
            parts[part].append((str(image), mask))
        else:
            lonely.append(str(image))
    classes = CITYSCAPES_TRAIN_IDS if trained else CITYSCAPES
    return Layout(parts["train"], parts["val"] or None, classes, tuple(_without_masks(lonely, fine)))


def _segnet_camvid(path: Path) -> Layout:
    """As SegNet's authors hand CamVid out: train, val and test, and a folder of masks beside each."""
    found, problems = {}, []
    for part in ("train", "test", "val"):
        images, masks = path / part, path / f"{part}annot"
        if images.is_dir() and masks.is_dir():
            found[part], lonely = _joined(_files(images), _files(masks))
            problems += _without_masks(lonely, masks)
    return Layout(found["train"], found.get("test") or found.get("val"), CAMVID, tuple(problems))


def _plain(path: Path) -> Layout:
    for train in TRAIN:
        if _below(path / train, IMAGES) and _below(path / train, MASKS):
            return _parts(path, [path / train, *(path / test for test in TEST)])
    images, masks = _below(path, IMAGES), _below(path, MASKS)
    if images is None or masks is None:
        raise ConvatlasError(f"{path} has no folders of pictures and masks; expected {LAYOUTS}")
    for train in TRAIN:
        if (images / train).is_dir() and (masks / train).is_dir():
            tests = [(images / test, masks / test) for test in TEST if (images / test).is_dir()]
            return _named(path, [(images / train, masks / train), *tests])
    return _named(path, [(images, masks)])


def _parts(path: Path, tops: Iterable[Path]) -> Layout:
    found = [(_below(top, IMAGES), _below(top, MASKS)) for top in tops]
    return _named(path, [(images, masks) for images, masks in found if images and masks])


def _named(path: Path, folders: list[tuple[Path, Path]]) -> Layout:
    """The first pair of folders is the training part, the second one, if there is one, the test part."""
    parts, problems = [], []
    for images, masks in folders[:2]:
        pairs, lonely = _joined(_files(images), _files(masks))
        parts.append(pairs)
        problems += _without_masks(lonely, masks)
    called = "camvid" in path.resolve().name.lower()
    known = CAMVID if called and all(_fits_camvid(mask) for _, mask in parts[0][:_LOOKED_AT]) else None
    return Layout(parts[0], parts[1] if len(parts) > 1 else None, known, tuple(problems))


def _without_masks(images: list[str], masks: Path) -> list[Problem]:
    return [Problem(image, f"has no mask in {masks}") for image in images]


def _fits_camvid(mask: str) -> bool:
    """Whether a mask holds nothing but 0 to 11 and 255, as far as it can be read."""
    try:
        values = read_values(mask)
    except ConvatlasError:
        return True  # the loader will name it
    return values.ndim == 2 and bool(np.isin(values, [*range(12), VOID]).all())


def _told_by_values(path: Path, masks: list[str]) -> MaskClasses:
    """Each value of the masks is a class, 255 is void; of masks that hold but two values both are classes."""
    found: set[int] = set()
    for mask in masks[:: max(1, len(masks) // _LOOKED_AT)]:
        try:
            values = read_values(mask)
        except ConvatlasError:
            continue  # the loader will name it
        if values.ndim == 3 and not alike(values):
            raise ConvatlasError(
                f"{mask} holds colours; expected {path / 'classes.csv'} with columns value, name, colour"
            )
        found |= {int(value) for value in np.unique(values)}
    kept = sorted(found if len(found) == 2 else found - {VOID})
    if len(kept) < 2 or len(kept) >= VOID:
        raise ConvatlasError(f"the masks of {path} hold {len(kept)} classes ({kept[:8]}); expected 2 to 254")
    if len(kept) > 2 and kept != list(range(len(kept))):  # a value may be rare
        kept = list(range(kept[-1] + 1)) if kept[-1] < VOID - 1 else kept
    void = () if VOID in kept else (VOID,)
    return MaskClasses(tuple(map(str, kept)), voc_colours(len(kept)), tuple(kept), void)


def _below(path: Path, names: Iterable[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _files(folder: Path) -> dict[str, str]:
    """The pictures below a folder, by their place in it without the ending."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                place = os.path.relpath(os.path.join(parent, name), folder)
                found[Path(place).with_suffix("").as_posix()] = os.path.join(parent, name)
    return found


def _joined(images: dict[str, str], masks: dict[str, str]) -> tuple[Pairs, list[str]]:
    """(pairs of the same name, but for an ending of the mask's; pictures without a mask)"""
    plain = {_without_ending(stem): mask for stem, mask in masks.items()} | masks
    pairs = [(image, plain[stem]) for stem, image in images.items() if stem in plain]
    return pairs, [image for stem, image in images.items() if stem not in plain]


def _without_ending(stem: str) -> str:
    return next((stem.removesuffix(ending) for ending in _MASK_ENDINGS if stem.endswith(ending)), stem)
