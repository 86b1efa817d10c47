"""JSON of labelling tools: LabelMe's files, one an image, and CreateML's list of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convatlas.data import limits
from convatlas.data.detection.annotations import Drawn, Fault, Page, Part, read_size
from convatlas.data.detection.images import ImageFinder, image_folders
from convatlas.data.detection.segments import polygon_box
from convatlas.errors import ConvatlasError

_SHAPES = ("rectangle", "polygon", "", "None")


def load(file: Path) -> Any:
    """What is in a JSON file. Raises ConvatlasError where it can't be read."""
    try:
        return limits.load_json(file)
    except OSError as error:
        raise ConvatlasError(f"{file} can't be read: {error.strerror or error}") from error


def is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def is_createml(content: Any) -> bool:
    return isinstance(content, list) and all(
        isinstance(entry, dict) and "image" in entry and isinstance(entry.get("annotations"), list) for entry in content
    )


def read_labelme(contents: Mapping[Path, Any], folder: Path) -> Part:
    """Rectangles, and the boxes of polygons, of LabelMe's files; another shape leaves its image out."""
    part = Part()
    called = {file: str(content["imagePath"]) for file, content in contents.items()}
    homes = dict.fromkeys(place for file in contents for place in image_folders(file))
    finder = ImageFinder([*homes, folder], called.values())
    for file, content in contents.items():
        path = finder.find(called[file]) or finder.at_place(file.stem)
        if path is None:
            part.faults.append(Fault(str(file), finder.explain(called[file]), "no image"))
            continue
        objects: list[Drawn] = []
        faults: list[Fault] = []
        size = None
        try:
            size = read_size(content.get("imageHeight") or 0, content.get("imageWidth") or 0)
            objects = [_labelme_object(shape) for shape in content["shapes"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            faults.append(Fault(str(file), f"a shape that can't be understood: {error!r:.120}", "bad object"))
        part.pages.append(Page(path, size, objects, str(file), faults=faults))
    return part


def read_createml(file: Path, content: Sequence[Mapping[str, Any]]) -> Part:
    """CreateML's list: boxes are a centre, a width and a height in pixels."""
    part = Part()
    finder = ImageFinder(image_folders(file), [str(entry["image"]) for entry in content])
    for entry in content:
        name = str(entry["image"])
        path = finder.find(name)
        if path is None:
            part.faults.append(Fault(str(file), finder.explain(name), "no image"))
            continue
        objects: list[Drawn] = []
        faults: list[Fault] = []
        try:
            objects = [_createml_object(item) for item in entry["annotations"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"an annotation that can't be understood: {error!r:.120}"
            faults.append(Fault(f"{file}, {name}", reason, "bad object"))
        part.pages.append(Page(path, None, objects, f"{file}, {name}", faults=faults))
    return part


def _labelme_object(shape: Any) -> Drawn:
    kind = str(shape.get("shape_type") or "")
    if kind not in _SHAPES:
        raise ValueError(f"a {kind}; expected rectangles and polygons")
    points = [float(side) for x, y in shape["points"] for side in (x, y)]
    return Drawn(str(shape["label"]).strip(), polygon_box(points))


def _createml_object(item: Any) -> Drawn:
    place = item["coordinates"]
    x, y, width, height = (float(place[key]) for key in ("x", "y", "width", "height"))
    return Drawn(str(item["label"]).strip(), (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
