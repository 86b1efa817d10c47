"""What a report shows of a detector: its classes and curves, what kind of mistakes it makes, the worst images."""

import math
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from convatlas.data.detection import DetectionSplit
from convatlas.data.detection.drawing import draw_boxes
from convatlas.errors import ConvatlasError, UsageError
from convatlas.evaluation.error_analysis import (
    KINDS,
    ClassErrors,
    ImageErrors,
    analyse,
    best_threshold,
    image_errors,
    worst_images,
)
from convatlas.records import DetectionEvaluation, protocol_words
from convatlas.report import html, tables
from convatlas.report.html import Tile
from convatlas.report.image_uris import array_uri
from convatlas.report.paths import short
from convatlas.visualise import boxes, detection_curves, overlays

LONGEST_SIDE = 480  # pixels of an image in the page
MEASURES = {
    "voc07": "Average precision as VOC measured it until 2009: the mean over eleven recalls, at IoU 0.5.",
    "voc10": "Average precision as VOC measures it since 2010: the area under the curve, at IoU 0.5.",
    "coco": "Average precision as COCO measures it: the mean over IoU 0.50 to 0.95.",
}


def sections(evaluation: DetectionEvaluation, test: DetectionSplit, *, worst: int = 8) -> Markup:
    """The sections "classes", "curves", "mistakes" and "worst" for a page with the reports' style.

    Args:
        evaluation: with the detections of every image.
        test: the images, in the same order.
        worst: how many images are shown.

    Raises:
        UsageError: the evaluation has no detections, or those of other images.
    """
    if len(evaluation.detections) != len(test):
        raise UsageError(f"the evaluation has detections of {len(evaluation.detections)} images; expected {len(test)}")
    truth = [test.objects(index) for index in range(len(test))]
    analysed = analyse(evaluation.detections, truth, evaluation.classes)
    thresholds = [best_threshold(curve) for curve in evaluation.curves]
    errors = image_errors(evaluation.detections, truth, thresholds)
    rows = class_rows(evaluation, analysed, thresholds)
    values = {
        "rows": rows,
        "unseen": [row["name"] for row in rows if not row["objects"]],
        "mean_ap": _known(evaluation.mean_ap),
        "measure": MEASURES[evaluation.protocol],
        "name_of_ap": "AP" if evaluation.protocol == "coco" else "AP50",
        "protocol": protocol_words(evaluation),
        "curves": [
            html.svg(figure, "Precision against recall of a class")
            for figure in detection_curves.precision_recall_figures(evaluation)
        ],
        "kinds": html.svg(detection_curves.kinds_figure(analysed, evaluation.classes), "Kinds of detections, by class"),
        "trend": html.svg(detection_curves.trend_figure(analysed), "Kinds of false detections"),
        "costs": costs(analysed),
        "examples": [shown(evaluation, test, errors, index) for index in worst_images(errors, worst)],
        **{
            name: f"rgb{colour}"
            for name, colour in (
                ("right", overlays.RIGHT), ("missed", overlays.MISSED), ("invented", overlays.INVENTED),
            )
        },
    }  # fmt: skip
    return html.render("detection.html", values)


def page(evaluation: DetectionEvaluation, test: DetectionSplit, title: str, *, worst: int = 8) -> str:
    """A whole page of `sections` below the protocol's numbers."""
    objects = sum(curve.objects for curve in evaluation.curves)
    classes = tables.plural(len(evaluation.classes), "class", "classes")
    lead = (
        f"{tables.plural(objects, 'object', 'objects')} of {classes} in "
        f"{tables.plural(len(test), 'test image', 'test images')}; {protocol_words(evaluation)}."
    )
    return html.standalone(title, lead, tiles(evaluation, len(test)), sections(evaluation, test, worst=worst))


def tiles(evaluation: DetectionEvaluation, images: int) -> list[Tile]:
    """The large numbers of a page."""
    classes = (
        f"over {tables.plural(len(evaluation.classes), 'class', 'classes')} "
        f"of {tables.plural(images, 'test image', 'test images')}"
    )
    found = [Tile(tables.percent(evaluation.mean_ap, 1), protocol_words(evaluation), classes, "reached")]
    if evaluation.protocol == "coco":
        for name in ("AP50", "AP75", "AR100"):
            found.append(Tile(tables.percent(evaluation.numbers[name], 1), name, "over the classes"))
    found.append(Tile(f"{sum(len(one.labels) for one in evaluation.detections):,}", "detections", "at any score"))
    if evaluation.seconds:
        each = f"{1000 * evaluation.seconds / max(images, 1):,.0f} ms"
        found.append(Tile(each, "an image", "reading it included"))
    return found


def class_rows(
    evaluation: DetectionEvaluation, analysed: tuple[ClassErrors, ...], thresholds: list[float]
) -> list[dict[str, Any]]:
    """One row a class, in the order of the classes; what is undefined is None."""
    rows = []
    for label, (name, curve) in enumerate(zip(evaluation.classes, evaluation.curves, strict=True)):
        last = int((curve.scores >= thresholds[label]).sum()) - 1  # the last answer that counts
        rows.append(
            {
                "name": name,
                "ap": _known(evaluation.ap[label].item()),
                "objects": curve.objects,
                "missed": analysed[label].missed,
                "threshold": f"{thresholds[label]:.2f}" if last >= 0 else "-",
                "precision": curve.precision[last].item() if last >= 0 else None,
                "recall": curve.recall[last].item() if last >= 0 else None,
            }
        )
    return rows


def costs(analysed: tuple[ClassErrors, ...]) -> list[tuple[str, str]]:
    """For each kind of mistake, by how many points the mean AP would rise without it."""
    counted = [one for one in analysed if one.objects]
    gains = [np.mean([one.ap_without[kind] - one.ap for one in counted] or [0.0]) for kind in range(1, len(KINDS))]
    return [(kind, f"{100 * gain:.1f}") for kind, gain in zip(KINDS[1:], gains, strict=True)]


def shown(evaluation: DetectionEvaluation, test: DetectionSplit, errors: list[ImageErrors], index: int) -> Any:
    """What the template names of one image."""
    try:
        image, truth = test.read(index)
    except ConvatlasError as error:
        raise ConvatlasError(f"an image that was evaluated is gone: {error}") from error
    found, one = evaluation.detections[index], errors[index]
    right = int(one.right.sum())
    return {
        "path": short(test.name(index)),
        "mistakes": one.mistakes,
        "right": right,
        "wrong": len(one.shown) - right - int(one.ignored.sum()),
        "missed": len(one.missed),
        "truth": _uri(draw_boxes(image, truth, evaluation.classes, longest=LONGEST_SIDE)),
        "found": _uri(boxes.verdicts(image, found, truth, one, evaluation.classes, longest=LONGEST_SIDE)),
    }


def _uri(image: Image.Image) -> str:
    return array_uri(np.asarray(image), LONGEST_SIDE)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
