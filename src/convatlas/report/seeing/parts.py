"""Parts of images, as the user names them, and the panel that hides them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.inference import Source
from convatlas.report.seeing.panel import Options, Panel, Part, Subject, default_layer, together
from convatlas.visualise import correspondence, maps
from convatlas.visualise.correspondence import Box

COLUMNS = ("part", "image", "y", "x", "height", "width")
RENAMED = {"picture": "image"}  # what a column was called in earlier versions
GRID = 3  # parts along each side, where the user names none
GRID_SIDE = 0.22  # of each, as a share of the image's


def read(values: Sequence[str]) -> tuple[Part, ...]:
    """Parts from `NAME=y,x,height,width` for all images alike, or from a table with one row a part and image.

    Raises:
        UsageError: neither, a table that can't be read, or a box that leaves the image.
    """
    found: list[Part] = []
    for value in values:
        if "=" in value:
            name, _, numbers = value.partition("=")
            found.append(part(value, name, numbers.split(",")))
            continue
        try:
            with Path(value).open(newline="", encoding="utf-8") as file:
                rows = [{RENAMED.get(key, key): text for key, text in row.items()} for row in csv.DictReader(file)]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"part {value} can't be read; expected NAME=y,x,height,width or a CSV file") from error
        if not rows or not set(COLUMNS) <= set(rows[0]):
            raise UsageError(f"part {value} has no rows with the columns {', '.join(COLUMNS)}")
        found += [part(value, row["part"], [row[key] for key in COLUMNS[2:]], row["image"]) for row in rows]
    return tuple(found)


def part(value: str, name: str, numbers: Sequence[str | None], image: str | None = None) -> Part:
    try:
        y, x, height, width = (float(number or "") for number in numbers)
    except ValueError as error:
        raise UsageError(f"part {value} has {numbers}; expected four numbers y, x, height, width") from error
    if not (0 <= y < y + height <= 1 and 0 <= x < x + width <= 1):
        raise UsageError(f"part {value} is a box {y:g}, {x:g}, {height:g}, {width:g}; expected shares inside 0 to 1")
    return Part(name, y, x, height, width, image)


def grid() -> tuple[Part, ...]:
    """Parts at the same nine places of every image."""
    rows, columns = ("upper", "middle", "lower"), ("left", "centre", "right")
    places = [(2 * i + 1) / (2 * GRID) - GRID_SIDE / 2 for i in range(GRID)]
    return tuple(
        Part(f"{row} {column}", y, x, GRID_SIDE, GRID_SIDE)
        for row, y in zip(rows, places, strict=True) for column, x in zip(columns, places, strict=True)
    )  # fmt: skip


def boxes(parts: Sequence[Part], found: Sequence[Subject]) -> dict[str, list[Box | None]]:
    """Each part in each image, in pixels. Raises UsageError for an image that isn't there."""
    names = {subject.path.name for subject in found}
    placed: dict[str, list[Box | None]] = {one.name: [None] * len(found) for one in parts}
    for one in parts:
        if one.image is not None and one.image not in names:
            raise UsageError(f"part {one.name!r} is in {one.image}, which isn't among {', '.join(sorted(names))}")
        for index, subject in enumerate(found):
            if one.image in (None, subject.path.name):
                height, width = subject.x.shape[2:]
                placed[one.name][index] = (
                    int(one.y * height), int(one.x * width),
                    max(1, int(one.height * height)), max(1, int(one.width * width)),
                )  # fmt: skip
    return placed


def layers_of(source: Source, x: Tensor, layer: str | None) -> list[str]:
    """The layer asked for; else the last one with maps and the last hidden one of vectors, as the paper's 5 and 7."""
    names = [layer or default_layer(source, x)]
    if layer is None:
        states = maps.feature_maps(source.net, x)[:-1]
        names += [name for name, values in states if values.ndim == 1 or max(values.shape[1:]) == 1][-1:]
    return [rectified(source.net, name) for name in dict.fromkeys(names)]


def rectified(net: nn.Module, layer: str) -> str:
    """The rectifier right after a layer, where it is a module of its own: the paper's features are rectified."""
    names = [name for name, _ in maps.rows(net)]
    after = names[names.index(layer) + 1 :][:1] if layer in names else []
    return after[0] if after and isinstance(net.get_submodule(after[0]), nn.ReLU) else layer


def correspondence_panel(source: Source, found: Sequence[Subject], options: Options) -> Panel:
    if len(found) < 2:
        raise UsageError(f"images are too few to compare: {len(found)}; name at least 2")
    placed = boxes(options.parts or grid(), found)
    x = together(found)
    layers = layers_of(source, x[:1], options.layer)
    rows = correspondence.measure(source.net, x, placed, layers)
    which = "the parts are those named" if options.parts else "no parts were named, nine places stand for them"
    alone = "" if options.parts else " Parts at one place of all images do so by their place alone."
    means = " The means of the feature maps know nothing of places." if any(
        row.map_distances is not None for row in rows
    ) else ""  # fmt: skip
    return Panel(
        "correspondence", "Hiding the same part of several images",
        "How unlike the features change when a part is hidden: the share of features whose change has another sign, "
        f"over all pairs of {len(found)} images, mean and deviation; {which}. Left of the dotted line, the features "
        f"change more alike than for random places.{alone}{means}",
        correspondence.figure([subject.image for subject in found], placed, rows),
        {"layers": layers, "pictures": [str(subject.path) for subject in found],
         "boxes": {name: [list(box) if box else None for box in row] for name, row in placed.items()},
         "rows": [
             {"part": row.part, "layer": row.layer, "pairs": len(row.distances),
              "features": summary(row.distances), "maps": summary(row.map_distances)} for row in rows
         ]},
        table=(
            ("part", "layer", "pairs", "features", "means of the maps"),
            *((row.part, row.layer, str(len(row.distances)), spread(row.distances), spread(row.map_distances))
              for row in rows),
        ),
    )  # fmt: skip


def summary(distances: NDArray[np.float32] | None) -> dict[str, float] | None:
    return None if distances is None else {"mean": float(distances.mean()), "deviation": float(distances.std())}


def spread(distances: NDArray[np.float32] | None) -> str:
    return "" if distances is None else f"{distances.mean():.3f} \N{PLUS-MINUS SIGN} {distances.std():.3f}"
