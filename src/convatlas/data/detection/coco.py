"""Annotations of COCO: one JSON file with images, categories and annotations. Boxes are x, y, width, height."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from convatlas.data import limits
from convatlas.data.detection.annotations import Drawn, Fault, Page, Part, read_size
from convatlas.data.detection.images import ImageFinder, image_folders
from convatlas.data.detection.segments import polygon_box
from convatlas.errors import ConvatlasError

_MIN_CORNERS = 3  # boxes that stick out only if read as x, y, width, height, before their order is doubted


def read_json(file: Path, content: Any = None) -> tuple[Part, tuple[str, ...]]:
    """The images of a file and the names of its categories in the order of their ids.

    A crowd becomes a difficult object. An image without annotations is one without objects. Images are looked for
    beside the file, in `images`, and in the folder that the name of the file gives (instances_val2017.json: val2017).

    Args:
        file: its path.
        content: what is in it, where it has been read before.

    Raises:
        ConvatlasError: it is not JSON, not of COCO's form, or ids or names are there twice.
    """
    try:
        content = limits.load_json(file) if content is None else content
    except OSError as error:
        raise ConvatlasError(f"{file} can't be read: {error.strerror or error}") from error
    images, categories, annotations = (_listed(content, key, file) for key in ("images", "categories", "annotations"))
    for key, entries in (("images", images), ("categories", categories), ("annotations", annotations)):
        _refuse_twice((_key(entry.get("id")) for entry in entries if "id" in entry), f"{key} of id", file)
    try:
        names = {_number(entry["id"]): str(entry["name"]).strip() for entry in categories}
        by_id = {_key(entry["id"]): entry for entry in images}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConvatlasError(
            f"{file} is not of COCO's form ({error!r}); expected images and categories with an id each, and names"
        ) from error
    classes = tuple(names[key] for key in sorted(names))
    _refuse_twice(classes, "categories of one name,", file)
    part = Part()
    drawn: dict[Any, list[Drawn]] = {key: [] for key in by_id}
    faults: dict[Any, list[Fault]] = {key: [] for key in by_id}
    for number, entry in enumerate(annotations):
        owner = _key(entry.get("image_id"))
        named = f"annotation {str(entry.get('id', number))[:40]}"
        if owner not in by_id:
            reason = f"{named} is of image {str(entry.get('image_id'))[:40]!r}, which is not listed"
            part.faults.append(Fault(str(file), reason, "no image"))
            continue
        try:
            drawn[owner].append(_draw(entry, names))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            name = str(by_id[owner].get("file_name"))
            faults[owner].append(Fault(f"{file}, {name}", f"{named} can't be understood: {error!r:.100}", "bad object"))
    _doubt_corners(drawn, by_id, file)
    _add_pages(part, by_id, drawn, faults, file)
    return part, classes


def is_coco(content: Any) -> bool:
    """Whether a document has what COCO's annotations have."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def _add_pages(
    part: Part,
    images: Mapping[Any, Any],
    drawn: Mapping[Any, list[Drawn]],
    faults: Mapping[Any, list[Fault]],
    file: Path,
) -> None:
    names = {key: str(image.get("file_name") or "") for key, image in images.items()}
    folders = [*image_folders(file, file.stem.removeprefix("instances_")), file.parent.parent]
    finder = ImageFinder(folders, names.values())
    for key, image in images.items():
        name = names[key]
        path = finder.find(name)
        if path is None:
            part.faults.append(Fault(str(file), finder.explain(name), "no image"))
            part.faults.extend(faults[key])
            continue
        size, wrong = None, list(faults[key])
        try:
            size = read_size(image.get("height") or 0, image.get("width") or 0)
        except (ValueError, OverflowError) as error:
            wrong.append(Fault(f"{file}, {name}", str(error), "bad object"))
        part.pages.append(Page(path, size, drawn[key], f"{file}, {name}", faults=wrong))


def _listed(content: Any, key: str, file: Path) -> list[dict[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        results = isinstance(content, list) and content and isinstance(content[0], dict) and "score" in content[0]
        hint = "; it looks like a detector's results, not like annotations" if results else ""
        raise ConvatlasError(
            f"{file} is not of COCO's form (no list {key!r}){hint}; expected images, categories, annotations"
        )
    return entries


def _refuse_twice(values: Iterable[Any], what: str, file: Path) -> None:
    value, count = next(iter(Counter(values).most_common(1)), (None, 0))
    if count > 1:
        raise ConvatlasError(f"{file} has {count} {what} {str(value)[:80]!r}; expected every one once")


def _key(value: Any) -> Any:
    """An id to compare by: some programs write the numbers as text."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() and len(value) < 19 else value
    return value if isinstance(value, int | float) else repr(value)


def _number(value: Any) -> int:
    key = _key(value)
    if not isinstance(key, int | float) or key != int(key):
        raise ValueError(f"id {str(value)[:40]!r} is not a whole number")
    return int(key)


def _draw(entry: dict[str, Any], names: Mapping[int, str]) -> Drawn:
    segments = entry.get("segmentation") or None
    if entry.get("bbox"):
        x, y, width, height = map(float, entry["bbox"])
        box = (x, y, x + width, y + height)
    elif isinstance(segments, list):
        box = polygon_box([float(place) for polygon in segments for place in polygon])
    else:
        raise ValueError("it has no bbox")
    label = _number(entry["category_id"])
    difficult = bool(entry.get("iscrowd", 0)) or bool(entry.get("ignore", 0))
    return Drawn(names.get(label, f"category {label}"), box, difficult, segments)


def _doubt_corners(drawn: Mapping[Any, list[Drawn]], images: Mapping[Any, Any], file: Path) -> None:
    """Refuses boxes that fit their images only if they are x1, y1, x2, y2."""
    sticking = 0
    for key, objects in drawn.items():
        width, height = images[key].get("width"), images[key].get("height")
        if not isinstance(width, int | float) or not isinstance(height, int | float) or min(width, height) <= 0:
            continue
        for item in objects:
            x, y, right, bottom = item.box
            x2, y2 = right - x, bottom - y  # as written
            if not (x < x2 <= width and y < y2 <= height):
                return
            sticking += right > width + 1 or bottom > height + 1
    if sticking >= _MIN_CORNERS:
        raise ConvatlasError(
            f"{file}: {sticking} boxes reach out of their images as x, y, width, height, and all fit as x1, y1, x2, y2;"
            f" write bbox as x, y, width, height"
        )
