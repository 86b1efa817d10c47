"""Small images with boxes in every format, as public data sets and labelling tools have them."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convatlas.data.detection import parts
from convatlas.data.detection.check import check_boxes

WIDTH, HEIGHT = 60, 40
BOX = (10.0, 5.0, 30.0, 25.0)  # x1, y1, x2, y2, pixel edges
Objects = Sequence[tuple[str, tuple[Any, ...]]]


def image(file: Path, *, size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 1) -> Path:
    """An image of (W, H), noisy, each name its own pixels."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(file.as_posix().encode()))
    image = Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, exif=exif) if orientation != 1 else image.save(file)
    return file


def images(folder: Path, names: Iterable[str], **more: Any) -> None:
    for name in names:
        image(folder / name, **more)


def xml(
    file: Path,
    objects: Objects = (("cat", (11, 6, 30, 25)),),
    *,
    called: str | None = None,
    size: tuple[Any, Any] = (WIDTH, HEIGHT),
) -> Path:
    """VOC's annotation; boxes count from 1."""
    drawn = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin><xmax>{b[2]}</xmax>"
        f"<ymax>{b[3]}</ymax></bndbox></object>"
        for name, b in objects
    )
    filename = "" if called is None else f"<filename>{called}</filename>"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    file.write_text(f"<annotation>{filename}{head}{drawn}</annotation>")
    return file


def coco(
    file: Path,
    entries: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    size: tuple[Any, Any] | None = (WIDTH, HEIGHT),
    categories: Any = None,
    **more: Any,
) -> Path:
    """COCO's document: file name -> annotations, each of category 1 with BOX unless it says otherwise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    listed, marks = [], []
    for number, (name, own) in enumerate(entries.items(), start=1):
        stated = {} if size is None else {"width": size[0], "height": size[1]}
        listed.append({"id": number, "file_name": name, **stated})
        for extra in own:
            mark = {"id": len(marks) + 1, "image_id": number, "category_id": 1, "bbox": [10, 5, 20, 20], **extra}
            marks.append({key: value for key, value in mark.items() if value is not None})
    given = categories or [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    file.write_text(json.dumps({"images": listed, "annotations": marks, "categories": given, **more}))
    return file


def yolo(root: Path, texts: Mapping[str, str | None], *, yaml: str | None = None, part: str = "train") -> Path:
    """images/<part> and labels/<part>, and data.yaml; a text of None is not written."""
    for stem, text in texts.items():
        image(root / "images" / part / f"{stem}.png")
        if text is not None:
            (root / "labels" / part).mkdir(parents=True, exist_ok=True)
            (root / "labels" / part / f"{stem}.txt").write_text(text)
    (root / "data.yaml").write_text(yaml or "train: images/train\nnames: [cat, dog]\n")
    return root


def read(spec: Path) -> dict[str, dict[str, list[tuple[str, tuple[float, ...]]]]]:
    """Split -> stem of the image -> class and box, rounded, of each object."""
    splits, classes = parts(str(spec))
    return {
        part: {
            Path(page.path).stem: [
                (classes[label], tuple(round(side, 2) for side in box))
                for label, box in zip(page.labels.tolist(), page.boxes.tolist(), strict=True)
            ]
            for page in split.pages
        }
        for part, split in splits.items()
    }


def kinds(spec: Path) -> dict[str, int]:
    """Kind of finding -> how many, as `data check` names them."""
    splits, classes = parts(str(spec))
    found: dict[str, int] = {}
    for finding in check_boxes(splits, classes).findings:
        found[finding.kind] = found.get(finding.kind, 0) + 1
    return found
