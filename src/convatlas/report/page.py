"""From a run folder to `report.html`: gathers, draws, fills the template, writes aside and renames."""

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from convatlas import facts, registry
from convatlas.analysis import verify
from convatlas.data import Split, normalise, prepare
from convatlas.inference import Source, open_source
from convatlas.io import write_file
from convatlas.report import published as printed
from convatlas.report import tables
from convatlas.report.pictures import as_array, data_uri, is_small
from convatlas.structures import ConvatlasError, Evaluation, PublishedResult
from convatlas.visualise import confusion, curves, filters, maps
from convatlas.visualise.style import inline_svg

MISTAKES = 24
LABELS_IN_FIGURE = 100  # classes; a larger confusion matrix is no longer a picture of anything


def write(run: Path, evaluation: Evaluation, test: Split, *, dataset: str | None = None) -> Path:
    """Writes `report.html` into a finished run folder and gives its path.

    Args:
        run: holds recipe.toml, environment.json, metrics.jsonl and checkpoints/best.
        evaluation: of the run's network on `test`, in its order.
        test: where the pictures of mistakes and of the feature maps come from.
        dataset: its name, which decides whether the paper's number is comparable; by default the recipe's.

    Raises:
        ConvatlasError: the run is incomplete, or the page can't be written.
    """
    return save(run / "report.html", render(context(run, evaluation, test, dataset)))


def save(target: Path, page: str) -> Path:
    """Writes a page completely or not at all.

    Raises:
        ConvatlasError: it can't be written.
    """
    try:
        write_file(target, page)
    except OSError as error:
        raise ConvatlasError(f"{target} can't be written: {error.strerror}") from error
    return target


def render(values: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = tables.percent
    environment.filters["probability"] = tables.probability
    environment.filters["commas"] = lambda number: f"{number:,}"
    template = resources.files("convatlas.report").joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(values)


def context(run: Path, evaluation: Evaluation, test: Split, dataset: str | None = None) -> dict[str, Any]:
    """Everything that the template names."""
    source = open_source(str(run))
    assert source.recipe is not None  # a run folder has one
    card = registry.card(source.name)
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    dataset = dataset or printed.dataset_name(source.recipe)
    paper = paper_or_none(card.paper)
    beside = printed.beside(evaluation, source.recipe, metrics, dataset)
    result = beside.result
    errors = round(evaluation.top1_error * len(evaluation.labels))
    return {
        "name": source.name,
        "summary": card.summary,
        "variant": source.recipe.variant,
        "dataset": dataset,
        "paper": paper,
        "paper_url": paper_url(paper.id) if paper else None,
        "published": result,
        "confidence": printed.confidence(result, paper.results) if result and paper else "",
        "comparison": beside.sentence,
        "comparable": beside.same_data,
        "evaluation": evaluation,
        "n": len(evaluation.labels),
        "errors": errors,
        "interval": tables.error_interval(evaluation),
        "train_pictures": metrics[0].get("images") if metrics else None,
        "metrics": metrics,
        "training_time": tables.duration(sum(row.get("seconds") or 0 for row in metrics)),
        "parameters": sum(parameter.numel() for parameter in source.net.parameters()),
        "class_rows": tables.class_rows(evaluation),
        "figures": figures(source, evaluation, test, metrics, result if beside.same_data else None),
        "mistakes": mistakes(evaluation, test),
        "verification": verification(source.name),
        "notes": [note[:1].upper() + note[1:] for note in recipe.get("notes", [])],
        "recipe": tables.flatten(recipe),
        "environment": tables.flatten(environment),
        "problems": list(evaluation.problems) or test.problems,
    }


def verification(name: str) -> dict[str, Any]:
    """What the paper printed, and anything that fails, apart from what only follows from its tables."""
    rows = verify.verify(name)
    derived = [row for row in rows if row.where == verify.DERIVED and row.verdict == "holds"]
    return {"printed": [row for row in rows if row not in derived], "derived": derived}


def paper_or_none(key: str) -> facts.Paper | None:
    try:
        return facts.paper(key)
    except KeyError:
        return None


def paper_url(identifier: str) -> str | None:
    """Where a DOI, an arXiv number or an address leads."""
    kind, _, rest = identifier.partition(":")
    if kind in ("http", "https"):
        return identifier
    return {"doi": f"https://doi.org/{rest}", "arxiv": f"https://arxiv.org/abs/{rest}"}.get(kind.lower())


def figures(
    source: Source, evaluation: Evaluation, test: Split, metrics: list[dict[str, Any]], result: PublishedResult | None
) -> dict[str, Any]:
    """The figures as SVG, by name; one that this network can't have (no convolution) is None."""
    classes = evaluation.classes
    drawn: dict[str, Any] = {
        "loss": svg(curves.loss_figure(metrics), "Loss of every epoch, train and test"),
        "error": svg(
            curves.error_figure(metrics, float(result.top1_error) / 100 if result and result.top1_error else None),
            "Error of every epoch, train and test",
        ),
        "confusion": svg(confusion.figure(evaluation.confusion.numpy(), classes), "Confusion matrix")
        if len(classes) <= LABELS_IN_FIGURE
        else None,
        "filters": None,
        "maps": None,
    }
    drawn["filters"], drawn["filters_layer"], drawn["filters_shape"] = first_layer(source)
    index = tables.typical_example(evaluation)
    picture = prepare(test.read(index), source.preprocessing)
    states = maps.feature_maps(source.net.cpu(), normalise(picture[None], source.preprocessing))
    shown = as_array(picture).astype(np.float32) / np.float32(255)
    drawn["maps"] = svg(maps.figure(shown, states, classes), "Feature maps of one test picture, layer by layer")
    drawn["maps_class"] = classes[int(evaluation.labels[index])]
    drawn["maps_probability"] = float(evaluation.probabilities[index].max())
    return drawn


def first_layer(source: Source) -> tuple[Markup | None, str, tuple[int, ...]]:
    try:
        layer, weights = filters.first_layer_filters(source.net)
    except ConvatlasError:
        return None, "", ()
    return svg(filters.figure(weights), f"Filters of {layer}"), layer, weights.shape


def svg(figure: Any, label: str) -> Markup:
    return Markup(inline_svg(figure, label))  # our own drawing: its texts were escaped by matplotlib


def mistakes(evaluation: Evaluation, test: Split) -> list[dict[str, Any]]:
    """The most confident mistakes with their pictures."""
    found = []
    for mistake in tables.confident_mistakes(evaluation, MISTAKES):
        picture = test.read(mistake.index)
        path = test.paths[mistake.index] if test.paths is not None else f"test picture {mistake.index}"
        found.append({"mistake": mistake, "uri": data_uri(picture), "small": is_small(picture), "path": path})
    return found
