"""Annotations of PASCAL VOC: one XML file an image, and lists of names in ImageSets/Main.

VOC counts pixels from 1, and a box holds its last pixel: edges are xmin - 1, ymin - 1, xmax, ymax. A box whose first
and last pixel are the same along an axis marks nothing: it is a click, and named as empty.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from convatlas.data import limits
from convatlas.data.detection.annotations import Drawn, Fault, Page, Part, Source, read_size
from convatlas.data.detection.images import ImageFinder, image_folders
from convatlas.data.folder import SUFFIXES
from convatlas.data.part_names import part_of
from convatlas.errors import ConvatlasError

LISTS = ("train", "val", "trainval", "test")
_LIMIT_BYTES = 8 << 20  # of one image's annotation; more is no annotation
_FLAG = re.compile(r"\s+-?[01]$")  # whether a class is on the image, as the lists of single classes have it
_MAX_DEPTH = 4  # folders below the data's, in which XML files are looked for


def is_layout(folder: Path) -> bool:
    """Whether a folder is laid out as VOC's: Annotations and ImageSets/Main."""
    return (folder / "Annotations").is_dir() and (folder / "ImageSets" / "Main").is_dir()


def read_layout(folder: Path) -> Source:
    """The splits that ImageSets/Main lists, by name; a list that is not one of `LISTS` is passed over.

    Raises:
        ConvatlasError: none of the four lists is there, or one can't be read.
    """
    lists = {name: folder / "ImageSets" / "Main" / f"{name}.txt" for name in LISTS}
    present = {name: file for name, file in lists.items() if limits.stands(file)}
    if not present:
        found = sorted((folder / "ImageSets" / "Main").glob("*.txt"))
        present = {part: file for file in reversed(found) if (part := part_of(file.stem)) and file.stem in PLAIN}
        if not present and len(found) == 1:
            present = {"train": found[0]}
    if not present:
        raise ConvatlasError(
            f"{folder / 'ImageSets' / 'Main'} has none of {', '.join(f'{name}.txt' for name in LISTS)}; "
            f"expected the lists of the splits"
        )
    home = folder / "Annotations"
    listed = {part: [_annotation(home, line) for line in _lines(file)] for part, file in present.items()}
    files = dict.fromkeys(file for names in listed.values() for file in names)
    reader = _Reader(files, image_folders(home))
    pages = {file: reader.read(file) for file in files}
    parts = {part: _gather(pages[file] for file in dict.fromkeys(names)) for part, names in listed.items()}
    return Source(parts, listed_classes(folder))


PLAIN = ("training", "valid", "validation", "dev", "testing")  # other names of the lists


def _annotation(home: Path, line: str) -> Path:
    """The XML file that a line of a list means: the line may end in a suffix, or in a flag."""
    for name in (line, _FLAG.sub("", line)):
        stem, suffix = os.path.splitext(name)
        for candidate in (name, stem if suffix.lower() in (".xml", *SUFFIXES) else name):
            if "\0" not in candidate and os.path.isfile(home / f"{candidate}.xml"):
                return home / f"{candidate}.xml"
    return home / f"{_FLAG.sub('', line)}.xml"


def find_loose(folder: Path) -> dict[str, list[Path]]:
    """Split -> XML files below a folder, whatever the folders are called; splits are told by whole words of these."""
    found: dict[str, list[Path]] = {}
    for parent, folders, files in os.walk(folder):
        place = Path(parent).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and len(place.parts) < _MAX_DEPTH)
        names = sorted(name for name in files if name.lower().endswith(".xml") and not name.startswith("."))
        if names:
            told = next((part for name in reversed(place.parts) if (part := part_of(name))), "train")
            found.setdefault(told, []).extend(Path(parent, name) for name in names)
    return found


def read_loose(folder: Path, files: Mapping[str, list[Path]]) -> Source:
    """XML files with their images, which lie with them or in a folder beside."""
    parts = {}
    for part, own in files.items():
        homes = list(dict.fromkeys(file.parent for file in own))
        places = dict.fromkeys(place for home in homes for place in image_folders(home, part))
        reader = _Reader(own, [*places, folder])
        parts[part] = _gather(reader.read(file) for file in own)
    return Source(parts, listed_classes(folder))


def _gather(found: Iterable[tuple[Page | None, list[Fault]]]) -> Part:
    part = Part()
    for page, faults in found:
        part.faults.extend(faults)
        if page is not None:
            part.pages.append(page)
    return part


def listed_classes(folder: Path) -> tuple[str, ...] | None:
    """The lines of classes.txt, where there is one."""
    file = folder / "classes.txt"
    if not limits.stands(file):
        return None
    names = tuple(_lines(file))
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConvatlasError(f"{file} names {twice[0]!r} twice; expected every class once")
    return names


class _Reader:
    """Reads annotations whose images lie in the folders."""

    def __init__(self, files: Iterable[Path], folders: Sequence[Path]) -> None:
        files = list(files)
        self.stems = {file.stem.lower() for file in files}
        self.finder = ImageFinder(folders, [file.stem for file in files])

    def read(self, file: Path) -> tuple[Page | None, list[Fault]]:
        """One annotation, None where it can't be used, and what is to be said of it."""
        try:
            root = _parse(file)
        except FileNotFoundError:
            return None, [Fault(str(file), "the image is listed and has no annotation", "no annotation")]
        except (OSError, ConvatlasError) as error:
            return None, [Fault(str(file), str(error).removeprefix(f"{file} "))]
        called = (root.findtext("filename") or "").strip()
        path, notes = self._find(file, called)
        if path is None:
            return None, [Fault(str(file), self.finder.explain(called or file.stem), "no image")]
        try:
            page = Page(path, _size(root), [_object(item) for item in root.iter("object")], str(file))
        except (ValueError, OverflowError) as error:
            page = Page(path, None, [], str(file), faults=[Fault(str(file), str(error), "bad object")])
        return page, notes

    def _find(self, file: Path, called: str) -> tuple[str | None, list[Fault]]:
        """By the annotation's own name, or by the <filename> in it where that is not another annotation's."""
        own, other = self.finder.at_place(file.stem), self.finder.at_place(called) if called else None
        stem = Path(called.replace("\\", "/")).stem.lower()
        if own is None and (stem == file.stem.lower() or stem not in self.stems):
            own = other or self.finder.by_base(file.stem) or (self.finder.by_base(called) if called else None)
        elif own is not None and other is not None and not os.path.samefile(own, other):
            reason = f"its <filename> is {called!r}, which is there too; {own}, of its own name, is taken"
            return own, [Fault(str(file), reason, "two names")]
        return own, []


def _parse(file: Path) -> ElementTree.Element:
    size = limits.check_regular(file)
    if size > _LIMIT_BYTES:
        raise ConvatlasError(f"{file} is larger than {_LIMIT_BYTES >> 20} MiB; expected one image's annotation")
    text = limits.read_bytes(file)
    if b"<!ENTITY" in text.replace(b"\0", b""):  # also in UTF-16; they can grow without bound
        raise ConvatlasError(f"{file} defines entities, which no annotation needs")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ConvatlasError(f"{file} is not XML: {error}") from error
    if root.tag == "annotations" and root.find("image") is not None:
        raise ConvatlasError(f"{file} is CVAT's XML of many images; export it from CVAT as Pascal VOC or COCO")
    return root


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W); None where a program left it out or wrote 0."""
    return read_size(root.findtext("size/height") or 0, root.findtext("size/width") or 0)


def _object(item: ElementTree.Element) -> Drawn:
    name = (item.findtext("name") or "").strip()
    sides = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if not name or None in sides:
        raise ValueError("an object without a name or a whole bndbox; expected name, xmin, ymin, xmax and ymax")
    x1, y1, x2, y2 = (float(side or "nan") for side in sides)
    is_fraction = max(x1, y1, x2, y2) <= 1 and any(side % 1 for side in (x1, y1, x2, y2))
    box = (x1, y1, x2, y2) if is_fraction else (x1 - (x2 > x1), y1 - (y2 > y1), x2, y2)
    flags = (item.findtext("difficult") or "0").strip().lower()
    return Drawn(name, box, difficult=flags in ("1", "true"))


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in limits.read_text(file).splitlines() if line.strip()]
    except OSError as error:
        raise ConvatlasError(f"{file} can't be read: {error.strerror or error}") from error
