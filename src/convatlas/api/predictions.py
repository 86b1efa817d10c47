"""What a network says of images: a sequence with a row for each, whatever the task."""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from convatlas.api.rows import Cell, Rows, with_problems
from convatlas.data.detection.drawing import draw_boxes
from convatlas.data.pose.people import limbs, sides
from convatlas.inference.boxes import BoxPrediction
from convatlas.inference.maps import MaskPrediction
from convatlas.inference.poses import PosePrediction
from convatlas.inference.tasks import AnyPrediction
from convatlas.records import Prediction, Problem
from convatlas.report.image_uris import array_uri, as_array
from convatlas.visualise import overlays, palettes

P = TypeVar("P", bound=AnyPrediction)
PREVIEWS = 8  # images that a notebook shows


@dataclass(frozen=True, repr=False)
class Predictions(Rows[P], Generic[P]):
    """Predictions in the order of the images, and the images that could not be read.

    `predictions[0]` is the first image's; `problems` names what could not be read, and why; `to_dataframe()` gives a
    row for each class, mask, box or joint.
    """

    problems: tuple[Problem, ...]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] | None = None

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each class of an image, each class of a mask, each box or each joint.

        Where images could not be read, each of them has a row with its `problem`, which the others leave empty.
        """
        rows = [{"image": item.path, **row} for item in self.items for row in _rows(item, self.classes)]
        return with_problems(rows, self.problems, "image")

    def left_out(self) -> list[str]:
        """The images that could not be read, and why."""
        return [f"not read: {problem.path}: {problem.reason}" for problem in self.problems]

    def _repr_html_(self) -> str:
        shown = "".join(
            f'<figure style="display:inline-block;margin:4px"><img src="{uri}" alt="">'
            f"<figcaption>{html.escape(item.path)}</figcaption></figure>"
            for item in self.items[:PREVIEWS]
            if (uri := _preview(item, self.classes, self.colours)) is not None
        )
        return shown + super()._repr_html_()


def _rows(item: AnyPrediction, classes: tuple[str, ...]) -> Iterable[dict[str, Cell]]:
    if isinstance(item, Prediction):
        for rank, (name, value) in enumerate(zip(item.classes, item.probabilities, strict=True), start=1):
            yield {"rank": rank, "class": name, "probability": value}
    elif isinstance(item, MaskPrediction):
        for name, share in item.shares(classes).items():
            yield {"class": name, "share": share}
    elif isinstance(item, BoxPrediction):
        found = item.found
        for label, score, box in zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True):
            yield {"class": classes[label], "score": score, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
    else:
        for name, (x, y), score in zip(classes, item.joints.tolist(), item.scores.tolist(), strict=True):
            yield {"joint": name, "x": x, "y": y, "score": score}


def _preview(
    item: AnyPrediction, classes: tuple[str, ...], colours: tuple[tuple[int, int, int], ...] | None
) -> str | None:
    """The image with what was found, as a data URI; None for a class, which has no place in it."""
    if isinstance(item, MaskPrediction):
        palette = palettes.for_classes(classes) if colours is None else np.array(colours, dtype=np.uint8)
        return array_uri(overlays.overlay(as_array(item.image), item.mask.numpy(), palette))
    if isinstance(item, BoxPrediction):
        return array_uri(np.asarray(draw_boxes(item.image, item.found, classes)), longest_side=480)
    if isinstance(item, PosePrediction):
        left, right = sides(classes)
        seen = np.ones(len(classes), dtype=bool)
        image = overlays.as_rgb(as_array(item.image))
        return array_uri(overlays.skeleton(image, item.joints.numpy(), seen, limbs(classes), left=left, right=right))
    return None
