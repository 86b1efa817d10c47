"""What differs between the tasks in a run's report: one table; what all runs have is in `frame`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from markupsafe import Markup

from convatlas.data.detection.split import DetectionSplit
from convatlas.data.pose.people import PeopleSplit, limbs, sides
from convatlas.data.pose.transform import PersonTransform
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.data.splits import Loadable, Split
from convatlas.inference import survey_masks
from convatlas.inference.maps import Survey
from convatlas.inference.poses import pose_of
from convatlas.inference.source import Source
from convatlas.records import AnyEvaluation, DetectionEvaluation, Evaluation, PoseEvaluation, Task, protocol_words
from convatlas.report import detection, frame, page, pose, segmentation
from convatlas.report.frame import Body, RunRecord
from convatlas.report.html import Tile
from convatlas.report.printed import printed_beside, sentence
from convatlas.visualise import palettes

Progress = Callable[[int, int], None]
Links = list[tuple[str, str]]
WORST = 8  # images that are shown


@dataclass(frozen=True)
class Shown:
    """What a report is made of."""

    source: Source
    evaluation: AnyEvaluation
    test: Loadable
    dataset: str | None = None  # its name; None: the recipe's
    on_progress: Progress | None = None


def _annotated(run: RunRecord, shown: Shown, links: Links, tiles: list[Tile], sections: Markup) -> Body:
    """What the reports of masks, objects and joints have in common."""
    evaluation, data = shown.evaluation, shown.dataset or Path(run.recipe.data.spec).name
    parameters = sum(parameter.numel() for parameter in shown.source.net.parameters())
    name = Path(data).stem
    return Body(
        data,
        f"{run.card.summary} Trained by its {run.recipe.variant} recipe on {data}; {protocol_words(evaluation)}.",
        [*tiles, frame.parameters_tile(run, parameters)],
        sections,
        links,
        sentence(printed_beside((run.card.name,), name, evaluation), name, evaluation),
        problems=tuple(evaluation.problems),
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


def _labels(run: RunRecord, shown: Shown) -> Body:
    evaluation = shown.evaluation
    assert isinstance(evaluation, Evaluation)
    return page.body_of(run, shown.source, evaluation, cast(Split, shown.test), shown.dataset)


def _masks(run: RunRecord, shown: Shown) -> Body:
    """A segmenter looks at the test split again."""
    assert isinstance(shown.test, MaskSplit)
    survey = survey_masks(shown.source, shown.test, on_progress=shown.on_progress)
    body = segmentation.sections(
        survey.evaluation, _examples(survey), palette=survey.colours, boundary=survey.boundary, trimap=survey.trimap
    )
    links = [("classes", "Classes"), ("confusion", "Confusion"), ("worst", "Worst images")]
    return _annotated(run, shown, links, segmentation.tiles(survey.evaluation, survey.boundary), body)


def poses_page(source: Source, evaluation: PoseEvaluation, test: PeopleSplit, title: str) -> str:
    """A page of its own for `convatlas eval --report`."""
    left, right = sides(test.names)
    examples = _worst_poses(source, evaluation, test)
    return pose.page(evaluation, examples, title, limbs=limbs(test.names), left=left, right=right)


def _people(run: RunRecord, shown: Shown) -> Body:
    """Joints, and the worst poses."""
    evaluation, test = shown.evaluation, shown.test
    assert isinstance(evaluation, PoseEvaluation)
    assert isinstance(test, PeopleSplit)
    left, right = sides(test.names)
    examples = _worst_poses(shown.source, evaluation, test)
    body = pose.sections(evaluation, examples, limbs=limbs(test.names), left=left, right=right)
    links = [("joints", "Joints"), ("worst", "Worst poses")]
    return _annotated(run, shown, links, pose.tiles(evaluation), body)


def _boxes(run: RunRecord, shown: Shown) -> Body:
    evaluation, test = shown.evaluation, shown.test
    assert isinstance(evaluation, DetectionEvaluation)
    assert isinstance(test, DetectionSplit)
    links = [
        ("classes", "Classes"),
        ("curves", "Precision and recall"),
        ("mistakes", "Mistakes"),
        ("worst", "Worst images"),
    ]
    sections = detection.sections(evaluation, test, worst=WORST)
    return _annotated(run, shown, links, detection.tiles(evaluation, len(test)), sections)


def _worst_poses(source: Source, evaluation: PoseEvaluation, test: PeopleSplit) -> list[pose.PoseExample]:
    """Looked at again; none where an image could not be read, as the people no longer have their places."""
    assemble, examples = PersonTransform(source.preprocessing, test.names), []
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


TASKS: dict[Task, Callable[[RunRecord, Shown], Body]] = {
    "classification": _labels,
    "segmentation": _masks,
    "detection": _boxes,
    "pose": _people,
}
"""What the page of a run says of its result."""
