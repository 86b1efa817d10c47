"""What a report shows of a segmenter: classes, confusions, the worst images with their masks and boundaries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from torch import Tensor

from convatlas.evaluation.boundary import TOLERANCE, BoundaryMeter, TrimapMeter
from convatlas.evaluation.segmentation import centre_crop, image_confusions, overlaps, scores
from convatlas.records import SegmentationEvaluation
from convatlas.report import html, tables
from convatlas.report.html import Tile
from convatlas.report.image_uris import array_uri, as_array
from convatlas.report.paths import short
from convatlas.visualise import confusion, dense_curves, overlays, palettes

LABELS_IN_FIGURE = 60  # classes; a larger confusion matrix is no longer an image of anything
LONGEST_SIDE = 480  # pixels of an image in the page


@dataclass(frozen=True)
class MaskRow:
    """How one class came out; fractions are None where there is nothing to divide by."""

    name: str
    colour: str  # "#800000"
    iu: float | None
    accuracy: float | None
    share: float | None
    boundary_f1: float | None


@dataclass(frozen=True)
class MaskExample:
    """An image with its truth and its prediction, which may be smaller: it belongs in the middle."""

    path: str
    image: Tensor  # uint8 (C, H, W)
    mask: Tensor  # (H, W)
    predicted: Tensor  # (h, w)


def worst(confusions: Tensor, limit: int = 8) -> list[int]:
    """The images with the lowest mean IoU, lowest first, from their confusion matrices (N, K, K).

    Images without a counted pixel are left out; of equals the first stands first.
    """
    of_image = [scores(matrix).mean_iu for matrix in confusions]
    return sorted((i for i, value in enumerate(of_image) if not math.isnan(value)), key=lambda i: of_image[i])[:limit]


def class_rows(
    evaluation: SegmentationEvaluation, palette: palettes.Palette, boundary: BoundaryMeter | None = None
) -> list[MaskRow]:
    """One row a class, in the order of the classes."""
    found = overlaps(evaluation.confusion)
    f1 = boundary.of_class.tolist() if boundary is not None else [math.nan] * len(evaluation.classes)
    columns = zip(evaluation.classes, found.iu.tolist(), found.accuracy.tolist(), found.share.tolist(), f1, strict=True)
    return [
        MaskRow(name, "#{:02x}{:02x}{:02x}".format(*palette[label]), *map(_known, values))
        for label, (name, *values) in enumerate(columns)
    ]


def sections(
    evaluation: SegmentationEvaluation,
    examples: Sequence[MaskExample],
    *,
    palette: palettes.Palette | None = None,
    boundary: BoundaryMeter | None = None,
    trimap: TrimapMeter | None = None,
) -> Markup:
    """The sections "classes", "confusion" and "worst" for a page with the reports' style.

    Args:
        evaluation: the numbers.
        examples: to be shown, in this order; see `worst`.
        palette: (K, 3); by default that of the classes.
        boundary: adds boundary F1 to the table.
        trimap: adds the curve of mean IoU near borders.
    """
    classes = evaluation.classes
    colours = palettes.for_classes(classes) if palette is None else palette
    rows = class_rows(evaluation, colours, boundary)
    few = len(classes) <= LABELS_IN_FIGURE
    values = {
        "rows": rows,
        "unseen": [row.name for row in rows if row.iu is None],
        "has_boundary": boundary is not None,
        "mean_iu": _known(evaluation.mean_iu),
        "mean_accuracy": _known(evaluation.mean_accuracy),
        "boundary_f1": _known(boundary.mean) if boundary is not None else None,
        "confusion": html.svg(confusion.figure(thousandths(evaluation), classes), "Confusion matrix") if few else None,
        "trimap": html.svg(
            dense_curves.trimap_figure(trimap.widths, {"mean IoU": trimap.mean_iu.tolist()}), "Mean IoU near borders"
        )
        if trimap is not None
        else None,
        "examples": [shown(example, classes, colours) for example in examples],
        "tolerance": TOLERANCE,
        "void": f"rgb({overlays.UNCOUNTED},{overlays.UNCOUNTED},{overlays.UNCOUNTED})",
        **{
            name: f"rgb{colour}"
            for name, colour in (
                ("right", overlays.RIGHT), ("missed", overlays.MISSED), ("invented", overlays.INVENTED),
            )
        },
    }  # fmt: skip
    return html.render("segmentation.html", values)


def page(
    evaluation: SegmentationEvaluation,
    examples: Sequence[MaskExample],
    title: str,
    *,
    palette: palettes.Palette | None = None,
    boundary: BoundaryMeter | None = None,
    trimap: TrimapMeter | None = None,
) -> str:
    """A whole page of `sections` below the numbers of Long et al."""
    pixels = f"{int(evaluation.confusion.sum()):,} labelled pixels"
    lead = f"{pixels}, {evaluation.protocol}, in {tables.duration(evaluation.seconds)}."
    body = sections(evaluation, examples, palette=palette, boundary=boundary, trimap=trimap)
    return html.standalone(title, lead, tiles(evaluation, boundary), body)


def tiles(evaluation: SegmentationEvaluation, boundary: BoundaryMeter | None = None) -> list[Tile]:
    """The large numbers of a page."""
    classes = f"{tables.plural(len(evaluation.classes), 'class', 'classes')}, {evaluation.protocol}"
    found = [
        Tile(tables.percent(evaluation.mean_iu, 1), "mean IoU", classes, "reached"),
        Tile(tables.percent(evaluation.pixel_accuracy, 1), "pixel accuracy", "of all labelled pixels"),
        Tile(tables.percent(evaluation.mean_accuracy, 1), "mean accuracy", "over the classes"),
        Tile(tables.percent(evaluation.frequency_weighted_iu, 1), "IoU, weighted", "by the classes' pixels"),
    ]
    if boundary is not None:
        found.append(Tile(tables.percent(boundary.mean, 1), "boundary F1", "mean over images"))
    return found


def thousandths(evaluation: SegmentationEvaluation) -> Any:
    """The confusion matrix in thousandths of each true class's pixels, rounded: (K, K) int64"""
    counts = evaluation.confusion.double()
    return (1000 * counts / counts.sum(1, keepdim=True).clamp(min=1)).round().long().numpy()


def shown(example: MaskExample, classes: Sequence[str], palette: palettes.Palette) -> dict[str, Any]:
    """What the template names of one image."""
    size = (example.predicted.shape[0], example.predicted.shape[1])
    image = as_array(centre_crop(example.image, size))
    mask, predicted = centre_crop(example.mask, size).numpy(), example.predicted.numpy()
    counts = image_confusions(example.predicted[None], example.mask[None], len(classes))[0]
    wrong = counts.clone().fill_diagonal_(0)
    true, taken = divmod(int(wrong.argmax()), len(classes))
    return {
        "path": short(example.path),
        "mean_iu": _known(scores(counts).mean_iu),
        "confused": f"{classes[true]} taken for {classes[taken]}" if wrong.any() else "",
        "truth": array_uri(overlays.overlay(image, mask, palette), LONGEST_SIDE),
        "prediction": array_uri(overlays.overlay(image, predicted, palette), LONGEST_SIDE),
        "boundaries": array_uri(overlays.boundary_errors(image, predicted, mask), LONGEST_SIDE),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
