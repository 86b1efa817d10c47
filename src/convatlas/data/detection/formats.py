"""Detections as text that other programs read, and that `open_detection` reads as if a person had marked them."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from convatlas.data.limits import parse_json
from convatlas.errors import ConvatlasError
from convatlas.records import Detections

_DECIMALS = 3  # of a coordinate; a score has twice as many
FORMAT = 1


@dataclass(frozen=True)
class Answer:
    """What was found on one image."""

    path: str
    size: tuple[int, int]  # H, W
    detections: Detections


def as_json(answers: Sequence[Answer], classes: Sequence[str]) -> str:
    """One document with the classes, and for each image its boxes: x1, y1, x2, y2 in pixel edges."""
    images = [
        {"path": answer.path, "height": answer.size[0], "width": answer.size[1],
         "objects": [{"class": name, "score": score, "box": box} for name, score, box in _rows(answer, classes)]}
        for answer in answers
    ]  # fmt: skip
    return json.dumps({"format": FORMAT, "classes": list(classes), "pictures": images}, indent=1, ensure_ascii=False)


def from_json(text: str) -> tuple[list[Answer], tuple[str, ...]]:
    """The inverse of `as_json`.

    Raises:
        ConvatlasError: it is something else.
    """
    try:
        content: Any = parse_json(text, "the predictions")
        classes = tuple(map(str, content["classes"]))
        return [_answer(image, classes) for image in content["pictures"]], classes
    except (ValueError, KeyError, TypeError) as error:
        raise ConvatlasError(f"not detections as convatlas writes them ({error!r})") from error


def _answer(image: Any, classes: tuple[str, ...]) -> Answer:
    objects = image["objects"]
    found = Detections(
        torch.tensor([one["box"] for one in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([classes.index(one["class"]) for one in objects], dtype=torch.int64),
        torch.tensor([one["score"] for one in objects], dtype=torch.float32),
    )
    return Answer(str(image["path"]), (int(image["height"]), int(image["width"])), found)


def as_csv(answers: Sequence[Answer], classes: Sequence[str]) -> str:
    """A line for each object: path, class, score, x1, y1, x2, y2; an image without any has a line with its path."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("path", "class", "score", "x1", "y1", "x2", "y2"))
    for answer in answers:
        rows = _rows(answer, classes)
        lines.writerows((answer.path, name, score, *box) for name, score, box in rows)
        if not rows:
            lines.writerow((answer.path, "", "", "", "", "", ""))
    return text.getvalue()


def as_voc(answer: Answer, classes: Sequence[str]) -> str:
    """One image's annotation in VOC's XML, which counts from 1 and whose boxes hold their last pixel; with scores."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = Path(answer.path).name
    size = ElementTree.SubElement(root, "size")
    for name, value in (("width", answer.size[1]), ("height", answer.size[0]), ("depth", 3)):
        ElementTree.SubElement(size, name).text = str(value)
    for name, score, (x1, y1, x2, y2) in _rows(answer, classes):
        drawn = ElementTree.SubElement(root, "object")
        for key, value in (("name", name), ("difficult", 0), ("score", score)):
            ElementTree.SubElement(drawn, key).text = str(value)
        box = ElementTree.SubElement(drawn, "bndbox")
        for key, side in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            ElementTree.SubElement(box, key).text = f"{side:.{_DECIMALS}f}".rstrip("0").rstrip(".")
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def as_coco(answers: Sequence[Answer], classes: Sequence[str], *, image_ids: Mapping[str, int] | None = None) -> str:
    """A document of COCO's form; its `annotations` are a list of results as COCO's server takes it. Categories from 1.

    Args:
        image_ids: by path, where the images have ids already; by default they are numbered from 1.
    """
    images, marks = [], []
    for number, answer in enumerate(answers, start=1):
        image = image_ids[answer.path] if image_ids is not None else number
        height, width = answer.size
        images.append({"id": image, "file_name": Path(answer.path).name, "height": height, "width": width})
        labels = answer.detections.labels.tolist()
        for place, (_, score, (x1, y1, x2, y2)) in enumerate(_rows(answer, classes)):
            box = [round(side, _DECIMALS) for side in (x1, y1, x2 - x1, y2 - y1)]
            mark: dict[str, Any] = {"id": len(marks) + 1, "image_id": image, "category_id": labels[place] + 1}
            mark |= {"bbox": box, "area": round(box[2] * box[3], _DECIMALS), "iscrowd": 0, "score": score}
            if answer.detections.masks is not None:
                mark["segmentation"] = _run_lengths(answer.detections.masks[place])
                mark["area"] = int(answer.detections.masks[place].sum())
            marks.append(mark)
    categories = [{"id": label, "name": name} for label, name in enumerate(classes, start=1)]
    return json.dumps({"images": images, "categories": categories, "annotations": marks}, ensure_ascii=False)


def _rows(answer: Answer, classes: Sequence[str]) -> list[tuple[str, float, list[float]]]:
    """Class, score and box of each object, in the order of the detections."""
    found = answer.detections
    return [
        (str(classes[label]), round(score, 2 * _DECIMALS), [round(side, _DECIMALS) for side in box])
        for label, score, box in zip(
            found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    ]  # fmt: skip


def _run_lengths(mask: Tensor) -> dict[str, Any]:
    """(H, W) bool -> COCO's run lengths down the columns, the first of them of False."""
    flat = mask.cpu().numpy().T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat]).astype(np.int8)))
    lengths = np.diff(np.concatenate([[0], changes, [len(flat)]]))
    return {"size": list(mask.shape), "counts": lengths.tolist()}
