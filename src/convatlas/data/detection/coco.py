"""Annotations of COCO: one JSON file with images, categories and annotations. Boxes are x, y, width, height."""

import json
from pathlib import Path
from typing import Any

from convatlas.data.detection.annotations import Drawn, Fault, Page, Part, find_picture, picture_folders
from convatlas.structures import ConvatlasError


def read_json(file: Path, *, masks: bool = False) -> tuple[Part, tuple[str, ...]]:
    """The pictures of a file and the names of its categories in the order of their ids.

    A crowd becomes a difficult object. A picture without annotations is one without objects. Pictures are looked for
    beside the file, in `images`, and in the folder that the name of the file gives (instances_val2017.json: val2017).

    Raises:
        ConvatlasError: it is not JSON, or not of COCO's form.
    """
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8-sig"))
        categories = {int(one["id"]): str(one["name"]) for one in content["categories"]}
        images = {one["id"]: one for one in content["images"]}
        annotations = content["annotations"]
    except (OSError, ValueError) as error:
        raise ConvatlasError(f"{file} is not JSON: {error}") from error
    except (KeyError, TypeError) as error:
        raise ConvatlasError(
            f"{file} is not of COCO's form ({error!r}); expected images, categories, annotations"
        ) from error
    classes = tuple(categories[key] for key in sorted(categories))
    if len(set(classes)) < len(classes):
        raise ConvatlasError(f"{file} has two categories of one name; expected every name once")
    folders = picture_folders(file, file.stem.removeprefix("instances_"))
    part = Part()
    drawn: dict[Any, list[Drawn]] = {key: [] for key in images}
    for number, one in enumerate(annotations):
        named = f"annotation {one.get('id', number) if isinstance(one, dict) else number}"
        try:
            x, y, width, height = map(float, one["bbox"])
            label = int(one["category_id"])
            segments = one.get("segmentation") or None if masks else None
            difficult = bool(one.get("iscrowd", 0)) or bool(one.get("ignore", 0))
            own = drawn[one["image_id"]]
        except KeyError as error:
            part.faults.append(Fault(str(file), f"{named} lacks {error}, or names an image that is not listed"))
        except (TypeError, ValueError) as error:
            part.faults.append(Fault(str(file), f"{named} can't be understood: {error}"))
        else:
            name = categories.get(label, f"category {label}")
            own.append(Drawn(name, (x, y, x + width, y + height), difficult, segments))
    for key, image in images.items():
        name = str(image.get("file_name", ""))
        path = find_picture(name, folders)
        if path is None:
            part.faults.append(Fault(str(file), f"its picture {name!r} is not there", "no picture"))
            continue
        size = (int(image.get("height") or 0), int(image.get("width") or 0))
        part.pages.append(Page(path, size if min(size) > 0 else None, drawn[key], f"{file}, {name}"))
    return part, classes
