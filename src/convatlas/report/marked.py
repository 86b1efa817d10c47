"""The report of a run that is no classifier's: what its task shows, the curves, the proof, and how it was trained."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from convatlas import registry
from convatlas.data.dense.splits import MaskSplit
from convatlas.data.pose.assembly import PersonAssembly
from convatlas.data.pose.people import PeopleSplit, limbs, sides
from convatlas.inference import open_source, survey_masks
from convatlas.inference.maps import Survey
from convatlas.inference.poses import pose_of
from convatlas.inference.source import Source
from convatlas.report import detection, pose, segmentation, tables
from convatlas.report import sections as pages
from convatlas.report.page import save, verification
from convatlas.structures import PoseEvaluation, SegmentationEvaluation
from convatlas.visualise import curves, palettes
from convatlas.visualise.style import inline_svg

Tile = tuple[str, str, str]
Progress = Callable[[int, int], None]
WORST = 8  # pictures that are shown


def write_marked(run: Path, evaluation: Any, test: Any, *, on_progress: Progress | None = None) -> Path:
    """Writes `report.html` into a finished run folder and gives its path; the network looks at the test part again.

    Raises:
        ConvatlasError: the run is incomplete, or the page can't be written.
    """
    source = open_source(str(run))
    if isinstance(evaluation, SegmentationEvaluation):
        tiles, body = _segmentation(source, test, on_progress)
    elif isinstance(evaluation, PoseEvaluation):
        tiles, body = _numbers(evaluation), _pose(source, evaluation, test)
    else:
        tiles, body = detection.tiles(evaluation, len(test)), detection.sections(evaluation, test, worst=WORST)
    assert source.recipe is not None  # a run folder has one
    card = registry.card(source.name)
    data = Path(source.recipe.data.spec).name
    lead = f"{card.summary} Trained by its {source.recipe.variant} recipe on {data}; {evaluation.protocol}."
    page = pages.standalone(f"{source.name} on {data}", lead, tiles, body + how(run, source))
    return save(run / "report.html", page)


def how(run: Path, source: Source) -> Markup:
    """The sections that every task has: curves, proof, recipe and machine."""
    assert source.recipe is not None
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    return pages.render(
        "marked.html",
        {
            "loss": Markup(inline_svg(curves.loss_figure(metrics), "Loss of every epoch, train and test")),
            "scores": Markup(inline_svg(curves.scores_figure(metrics), "Scores of every epoch on the test part")),
            "training_time": tables.duration(sum(row.get("seconds") or 0 for row in metrics)),
            "parameters": sum(parameter.numel() for parameter in source.net.parameters()),
            "expected": source.recipe.expected,
            "notes": list(source.recipe.notes),
            "verification": verification(source.name),
            "recipe": tables.flatten(recipe),
            "environment": tables.flatten(environment),
        },
    )


def masks_page(survey: Survey, title: str) -> str:
    """A page of its own for `convatlas eval --report`."""
    return segmentation.page(
        survey.evaluation,
        _examples(survey),
        title,
        palette=survey.colours,
        boundary=survey.boundary,
        trimap=survey.trimap,
    )


def mask_rows(survey: Survey) -> list[segmentation.MaskRow]:
    """A row a class, with its boundary F1."""
    evaluation = survey.evaluation
    colours = palettes.for_classes(evaluation.classes) if survey.colours is None else survey.colours
    return segmentation.class_rows(evaluation, colours, survey.boundary)


def _segmentation(source: Source, test: MaskSplit, on_progress: Progress | None) -> tuple[list[Tile], Markup]:
    survey = survey_masks(source, test, on_progress=on_progress)
    body = segmentation.sections(
        survey.evaluation, _examples(survey), palette=survey.colours, boundary=survey.boundary, trimap=survey.trimap
    )
    return segmentation.tiles(survey.evaluation, survey.boundary), body


def _pose(source: Source, evaluation: PoseEvaluation, test: PeopleSplit) -> Markup:
    """Joints, and the worst poses; where a picture could not be read, the people no longer have their places."""
    assemble, examples = PersonAssembly(source.preprocessing, test.names), []
    whole = len(evaluation.distances) == len(test)
    for index in pose.worst(evaluation, WORST) if whole else ():
        image, person = test.read_pair(index)
        found = pose_of(source, test.name(index), image, assemble.view(person), "cpu")
        examples.append(
            pose.PoseExample(found.path, image, person.joints, person.marked, found.joints, evaluation.distances[index])
        )
    left, right = sides(test.names)
    return pose.sections(evaluation, examples, limbs=limbs(test.names), left=left, right=right)


def _numbers(evaluation: Any) -> list[Tile]:
    return [(tables.percent(value, 1), name.replace("_", " "), "on the test part") for name, value in
            evaluation.scores().items()]  # fmt: skip


def _examples(survey: Survey) -> list[segmentation.MaskExample]:
    chosen = segmentation.worst(survey.confusions, WORST)
    return [
        segmentation.MaskExample(one.path, one.image, mask, one.mask) for one, mask in (survey.again(i) for i in chosen)
    ]
