"""What the report of a classifier shows: classes, calibration, mistakes, filters and feature maps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from convatlas.data import DataSet, Split, normalise, prepare
from convatlas.errors import ConvatlasError
from convatlas.evaluation.calibration import Calibration, calibration
from convatlas.inference import Source, open_source
from convatlas.records import Evaluation, PublishedResult
from convatlas.report import frame, html, tables
from convatlas.report import published as printed
from convatlas.report.frame import Body, RunRecord, paper_or_none, render
from convatlas.report.html import Tile, save
from convatlas.report.image_uris import as_array, data_uri, is_small
from convatlas.report.paths import below_common
from convatlas.visualise import confusion, filters, maps, reliability

__all__ = ["context", "render", "save", "sections", "standalone", "write"]

MISTAKES = 24
LABELS_IN_FIGURE = 100  # classes; a larger confusion matrix is no longer an image of anything
NOTICEABLE = 0.005  # difference of certainty and accuracy that is worth a word
LINKS = [("classes", "Classes"), ("calibration", "Calibration"), ("mistakes", "Mistakes")]


def write(
    run: Path,
    evaluation: Evaluation,
    test: Split,
    *,
    dataset: str | None = None,
    source: Source | None = None,
    warnings: tuple[str, ...] = (),
) -> Path:
    """Writes `report.html` into a run folder and gives its path.

    Args:
        run: holds recipe.toml, environment.json, metrics.jsonl and, where `source` is None, checkpoints/best.
        evaluation: of the run's network on `test`, in its order.
        test: where the images of mistakes and of the feature maps come from.
        dataset: its name, which decides whether the paper's number is comparable; by default the recipe's.
        source: the network that was evaluated.
        warnings: sentences for the head of the page.

    Raises:
        ConvatlasError: the run is incomplete, or the page can't be written.
    """
    values = context(run, evaluation, test, dataset, source, warnings)
    return save(run / "report.html", render(values))


def context(
    run: Path,
    evaluation: Evaluation,
    test: Split,
    dataset: str | None = None,
    source: Source | None = None,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Everything that the template names."""
    source = source or open_source(str(run))
    record = frame.read_run(run)
    return frame.context(record, replace(body_of(record, source, evaluation, test, dataset), warnings=warnings))


def body_of(run: RunRecord, source: Source, evaluation: Evaluation, test: Split, dataset: str | None) -> Body:
    dataset = dataset or printed.dataset_name(run.recipe)
    beside = printed.beside(evaluation, run.recipe, run.metrics, dataset)
    result = beside.result
    tiles = [error_tile(evaluation)]
    if result is not None and beside.comparable:
        tiles.append(_published_tile(run, result))
    tiles.append(frame.parameters_tile(run, sum(parameter.numel() for parameter in source.net.parameters())))
    shown, links = _sections(source, evaluation, test)
    return Body(
        dataset,
        run.card.summary,
        tiles,
        shown,
        links,
        comparison=beside.sentence,
        published_error=float(result.top1_error or 0) / 100 if result is not None and beside.comparable else None,
        problems=tuple(evaluation.problems) or tuple(test.problems),
    )


def standalone(source: Source, evaluation: Evaluation, data: DataSet, title: str) -> Markup:
    """A page of its own, for any network on any data with labels."""
    low, high = tables.error_interval(evaluation)
    tiles = [error_tile(evaluation)]
    if evaluation.top5_error is not None:
        tiles.append(Tile(tables.percent(evaluation.top5_error), "top-5 error", evaluation.protocol))
    lead = (
        f"{tables.plural(len(evaluation.labels), 'test image', 'test images')} of {data.name}, {evaluation.protocol}: "
        f"{tables.percent(evaluation.top1_error)} wrong, 95% interval {tables.percent(low)} to {tables.percent(high)}."
    )
    return html.standalone(title, lead, tiles, sections(source, evaluation, data.test))


def error_tile(evaluation: Evaluation) -> Tile:
    low, high = tables.error_interval(evaluation)
    n = len(evaluation.labels)
    more = (
        f"{round(evaluation.top1_error * n):,} of {n:,} wrong, {evaluation.protocol}, 95% interval "
        f"{tables.percent(low)} to {tables.percent(high)}"
    )
    return Tile(tables.percent(evaluation.top1_error), "test error reached", more, "reached")


def _published_tile(run: RunRecord, result: PublishedResult) -> Tile:
    paper = paper_or_none(run.card.paper)
    sure = printed.confidence(result, paper.results) if paper else ""
    more = ", ".join(filter(None, (result.data, result.protocol))) + (f" ({sure})" if sure else "")
    return Tile(f"{result.top1_error}%", "test error published", more, "printed")


def sections(source: Source, evaluation: Evaluation, test: Split) -> Markup:
    """The sections "classes", "calibration", "mistakes", "filters" and "maps" for a page with the reports' style."""
    return _sections(source, evaluation, test)[0]


def _sections(source: Source, evaluation: Evaluation, test: Split) -> tuple[Markup, list[tuple[str, str]]]:
    classes = evaluation.classes
    known = calibration(evaluation.probabilities, evaluation.labels)
    few = len(classes) <= LABELS_IN_FIGURE
    values = {
        "confusion": html.svg(confusion.figure(evaluation.confusion.numpy(), classes), "Confusion matrix")
        if few
        else None,
        "class_rows": tables.class_rows(evaluation),
        "reliability": html.svg(reliability.figure(known), "Fraction right by the probability of the predicted class"),
        "ece": known.error,
        "calibration": known,
        "surer": surer(known),
        "mistakes": mistakes(evaluation, test),
        "errors": round(evaluation.top1_error * len(evaluation.labels)),
        **_first_layer(source),
        **_maps(source, evaluation, test),
    }
    links = list(LINKS)
    links += [("filters", "Filters")] if values["filters"] else []
    links += [("maps", "Feature maps")] if values["maps"] else []
    return html.render("classification.html", values), links


def surer(found: Calibration) -> str:
    """Whether it promises too much or too little; "" where the two are about the same."""
    difference = found.mean_confidence - found.accuracy
    if not abs(difference) > NOTICEABLE:
        return ""
    return "it promises more than it keeps" if difference > 0 else "it is better than it thinks"


def _maps(source: Source, evaluation: Evaluation, test: Split) -> dict[str, Any]:
    classes = evaluation.classes
    index = tables.typical_example(evaluation)
    image = prepare(test.read(index), source.preprocessing)
    states = maps.feature_maps(source.net.cpu(), normalise(image[None], source.preprocessing))
    if not states:
        return {"maps": None}
    shown = as_array(image).astype(np.float32) / np.float32(255)
    probability, predicted = evaluation.probabilities[index].max(dim=0)
    right = int(predicted) == int(evaluation.labels[index])
    says = f"{'recognised' if right else f'taken for {classes[int(predicted)]}'} with "
    return {
        "maps": html.svg(maps.figure(shown, states, classes), "Feature maps of one test image, layer by layer"),
        "maps_class": classes[int(evaluation.labels[index])],
        "maps_says": says + tables.probability(float(probability)),
    }


def _first_layer(source: Source) -> dict[str, Any]:
    try:
        layer, weights = filters.first_layer_filters(source.net)
    except ConvatlasError:
        return {"filters": None}
    figure = filters.figure(weights)
    return {"filters": html.svg(figure, f"Filters of {layer}"), "filters_caption": filters.caption(layer, weights)}


def mistakes(evaluation: Evaluation, test: Split) -> list[dict[str, Any]]:
    """The most confident mistakes with their images and the files' names."""
    found = []
    names = below_common(list(test.paths)) if test.paths is not None else None
    for mistake in tables.confident_mistakes(evaluation, MISTAKES):
        image = test.read(mistake.index)
        path = names[mistake.index] if names is not None else f"test image {mistake.index}"
        found.append({"mistake": mistake, "uri": data_uri(image), "small": is_small(image), "path": path})
    return found
