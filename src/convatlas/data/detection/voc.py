"""Annotations of PASCAL VOC: one XML file a picture, and lists of names in ImageSets/Main.

VOC counts pixels from 1, and a box holds its last pixel: edges are xmin - 1, ymin - 1, xmax, ymax. A box whose first
and last pixel are the same along an axis marks nothing: it is a click, and named as empty.
"""

from pathlib import Path
from xml.etree import ElementTree

from convatlas.data.detection.annotations import Drawn, Fault, Page, Part, Source, find_picture, picture_folders
from convatlas.structures import ConvatlasError

LISTS = ("train", "val", "trainval", "test")
_LIMIT_BYTES = 16 << 20  # of one picture's annotation; more is no annotation


def is_layout(folder: Path) -> bool:
    """Whether a folder is laid out as VOC's: Annotations and ImageSets/Main."""
    return (folder / "Annotations").is_dir() and (folder / "ImageSets" / "Main").is_dir()


def read_layout(folder: Path) -> Source:
    """The parts that ImageSets/Main lists, by name; a list that is not one of `LISTS` is passed over.

    Raises:
        ConvatlasError: none of the four lists is there.
    """
    lists = {name: folder / "ImageSets" / "Main" / f"{name}.txt" for name in LISTS}
    present = {name: file for name, file in lists.items() if file.is_file()}
    if not present:
        found = sorted(file.name for file in (folder / "ImageSets" / "Main").glob("*.txt"))
        if len(found) != 1:
            raise ConvatlasError(
                f"{folder / 'ImageSets' / 'Main'} has none of {', '.join(f'{name}.txt' for name in LISTS)}; "
                f"expected the lists of the parts"
            )
        present = {"train": folder / "ImageSets" / "Main" / found[0]}
    pictures = picture_folders(folder)
    pages: dict[str, Page | Fault] = {}
    parts = {}
    for part, file in present.items():
        names = [line.split()[0] for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        for name in names:
            if name not in pages:
                pages[name] = read_file(folder / "Annotations" / f"{name}.xml", pictures)
        found = [pages[name] for name in names]
        parts[part] = Part(
            [page for page in found if isinstance(page, Page)], [fault for fault in found if isinstance(fault, Fault)]
        )
    return Source(parts, listed_classes(folder))


def read_loose(folder: Path) -> Part:
    """All XML files of a folder with their pictures, which lie with them or in a folder beside."""
    found = [read_file(file, picture_folders(folder)) for file in sorted(folder.glob("*.xml"))]
    return Part(
        [page for page in found if isinstance(page, Page)], [fault for fault in found if isinstance(fault, Fault)]
    )


def listed_classes(folder: Path) -> tuple[str, ...] | None:
    """The lines of classes.txt, where there is one."""
    file = folder / "classes.txt"
    if not file.is_file():
        return None
    return tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip())


def read_file(file: Path, pictures: list[Path]) -> Page | Fault:
    """One annotation; a fault where it is absent, can't be read, or its picture isn't there."""
    try:
        if file.stat().st_size > _LIMIT_BYTES:
            return Fault(str(file), f"larger than {_LIMIT_BYTES >> 20} MiB; expected one picture's annotation")
        text = file.read_bytes()
    except OSError:
        return Fault(str(file), "the picture is listed and has no annotation", "no annotation")
    if b"<!ENTITY" in text:
        return Fault(str(file), "defines entities, which no annotation needs")  # they can grow without bound
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return Fault(str(file), f"not XML: {error}")
    path = find_picture(f"{file.stem}.jpg", pictures) or find_picture(root.findtext("filename") or file.stem, pictures)
    if path is None:
        return Fault(str(file), f"its picture {root.findtext('filename') or file.stem!r} is not there", "no picture")
    try:
        return Page(path, _size(root), [_object(item) for item in root.iter("object")], str(file))
    except ValueError as error:
        return Fault(str(file), str(error))


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W); None where a program left it out or wrote 0."""
    height, width = (int(float(root.findtext(f"size/{side}") or 0)) for side in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def _object(item: ElementTree.Element) -> Drawn:
    name = (item.findtext("name") or "").strip()
    sides = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if not name or None in sides:
        raise ValueError("an object without a name or a whole bndbox; expected name, xmin, ymin, xmax and ymax")
    x1, y1, x2, y2 = (float(side or "nan") for side in sides)
    box = (x1 - (x2 > x1), y1 - (y2 > y1), x2, y2)
    return Drawn(name, box, difficult=(item.findtext("difficult") or "0").strip() == "1")
