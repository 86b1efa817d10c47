"""The report of a run that is no classifier's: what its task shows, with the frame that all runs have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from convatlas.data.dense.splits import MaskSplit
from convatlas.data.pose.assembly import PersonAssembly
from convatlas.data.pose.people import PeopleSplit, limbs, sides
from convatlas.inference import open_source, survey_masks
from convatlas.inference.maps import Survey
from convatlas.inference.poses import pose_of
from convatlas.inference.source import Source
from convatlas.records import PoseEvaluation, SegmentationEvaluation, protocol_words
from convatlas.report import detection, frame, pose, segmentation
from convatlas.report.frame import Body, RunRecord
from convatlas.report.html import Tile, save
from convatlas.report.printed import printed_beside, sentence
from convatlas.visualise import palettes

Progress = Callable[[int, int], None]
Links = list[tuple[str, str]]
WORST = 8  # images that are shown
LINKS: dict[str, Links] = {
    "segmentation": [("classes", "Classes"), ("confusion", "Confusion"), ("worst", "Worst images")],
    "detection": [
        ("classes", "Classes"), ("curves", "Precision and recall"), ("mistakes", "Mistakes"), ("worst", "Worst images")
    ],
    "pose": [("joints", "Joints"), ("worst", "Worst poses")],
}  # fmt: skip


def write_marked(
    run: Path,
    evaluation: Any,
    test: Any,
    *,
    dataset: str | None = None,
    source: Source | None = None,
    warnings: tuple[str, ...] = (),
    on_progress: Progress | None = None,
) -> Path:
    """Writes `report.html` into a run folder and gives its path; a segmenter looks at the test split again.

    Raises:
        ConvatlasError: the run is incomplete, or the page can't be written.
    """
    source = source or open_source(str(run))
    record = frame.read_run(run)
    if isinstance(evaluation, SegmentationEvaluation):
        tiles, body = _segmentation(source, test, on_progress)
    elif isinstance(evaluation, PoseEvaluation):
        tiles, body = pose.tiles(evaluation), _pose(source, evaluation, test)
    else:
        tiles, body = detection.tiles(evaluation, len(test)), detection.sections(evaluation, test, worst=WORST)
    tiles.append(frame.parameters_tile(record, sum(parameter.numel() for parameter in source.net.parameters())))
    return save(run / "report.html", _page(record, evaluation, tiles, body, dataset, warnings))


def _page(
    run: RunRecord, evaluation: Any, tiles: list[Tile], body: Markup, dataset: str | None, warnings: tuple[str, ...]
) -> Markup:
    data = dataset or Path(run.recipe.data.spec).name
    lead = f"{run.card.summary} Trained by its {run.recipe.variant} recipe on {data}; {protocol_words(evaluation)}."
    name = Path(data).stem
    comparison = sentence(printed_beside((run.card.name,), name, evaluation), name, evaluation)
    problems = tuple(evaluation.problems)
    return frame.render(
        frame.context(
            run,
            Body(data, lead, tiles, body, LINKS[run.card.task], comparison, warnings=warnings, problems=problems),
        )
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


def poses_page(source: Source, evaluation: PoseEvaluation, test: PeopleSplit, title: str) -> str:
    """A page of its own for `convatlas eval --report`."""
    left, right = sides(test.names)
    examples = _worst_poses(source, evaluation, test)
    return pose.page(evaluation, examples, title, limbs=limbs(test.names), left=left, right=right)


def _pose(source: Source, evaluation: PoseEvaluation, test: PeopleSplit) -> Markup:
    """Joints, and the worst poses."""
    left, right = sides(test.names)
    examples = _worst_poses(source, evaluation, test)
    return pose.sections(evaluation, examples, limbs=limbs(test.names), left=left, right=right)


def _worst_poses(source: Source, evaluation: PoseEvaluation, test: PeopleSplit) -> list[pose.PoseExample]:
    """Looked at again; none where an image could not be read, as the people no longer have their places."""
    assemble, examples = PersonAssembly(source.preprocessing, test.names), []
    whole = len(evaluation.distances) == len(test)
    for index in pose.worst(evaluation, WORST) if whole else ():
        image, person = test.read_pair(index)
        found = pose_of(source, test.name(index), image, assemble.view(person), "cpu")
        examples.append(
            pose.PoseExample(found.path, image, person.joints, person.marked, found.joints, evaluation.distances[index])
        )
    return examples


def _examples(survey: Survey) -> list[segmentation.MaskExample]:
    chosen = segmentation.worst(survey.confusions, WORST)
    return [
        segmentation.MaskExample(one.path, one.image, mask, one.mask) for one, mask in (survey.again(i) for i in chosen)
    ]
