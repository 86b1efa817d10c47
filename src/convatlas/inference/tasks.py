"""The verbs of each task: what looks at images, and what scores a network on a data set. One table for all callers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import torch

from convatlas.data import DataSet
from convatlas.data.segmentation.splits import MaskSplit
from convatlas.inference.boxes import BoxPrediction, detect, evaluate_boxes
from convatlas.inference.classes import of_classes
from convatlas.inference.crf import DenseCRF
from convatlas.inference.evaluate import evaluate_source, load_data
from convatlas.inference.images import Images
from convatlas.inference.maps import MaskPrediction, segment, survey_masks
from convatlas.inference.poses import PosePrediction, evaluate_poses, find_poses
from convatlas.inference.predict import predict
from convatlas.inference.trained import TrainedNetwork
from convatlas.records import (
    AnyEvaluation,
    Prediction,
    Problem,
    SegmentationEvaluation,
    Task,
)

AnyPrediction: TypeAlias = Prediction | MaskPrediction | BoxPrediction | PosePrediction


@dataclass(frozen=True)
class Looking:
    """How images are looked at; each task takes the options that are its own."""

    device: str | torch.device = "cpu"
    top_k: int = 5  # classes of an image
    batch_size: int = 32  # of a classifier
    engine: str = "auto"  # of a classifier
    crf: bool = False  # refines a segmenter's masks
    least_score: float | None = None  # of a detector's boxes; of two classes of pixels the second's probability
    on_progress: Callable[[int, int], None] | None = None  # called with (images done, images)


@dataclass(frozen=True)
class TaskVerbs:
    """What can be done with a trained network of one task."""

    verb: str  # the name of the method that looks at images
    options: frozenset[str]  # of `Looking`, besides `device` and `on_progress`
    look: Callable[[TrainedNetwork, Images, Looking], Iterator[AnyPrediction | Problem]]
    score: Callable[[TrainedNetwork, str | None, Path | None], tuple[DataSet, AnyEvaluation]]
    has_fixed_size: bool = False  # images become the preprocessing's size; of others they may have any


def _classify(trained: TrainedNetwork, images: Images, how: Looking) -> Iterator[Prediction | Problem]:
    predictions, problems = predict(
        trained, images, top_k=how.top_k, batch_size=how.batch_size, device=how.device, engine=how.engine,
        on_progress=how.on_progress,
    )  # fmt: skip
    yield from problems
    yield from predictions


def _segment(trained: TrainedNetwork, images: Images, how: Looking) -> Iterator[MaskPrediction | Problem]:
    refine = DenseCRF() if how.crf else None
    return segment(
        trained, images, device=how.device, refine=refine, threshold=how.least_score, on_progress=how.on_progress
    )


def _detect(trained: TrainedNetwork, images: Images, how: Looking) -> Iterator[BoxPrediction | Problem]:
    return detect(trained, images, least_score=how.least_score, device=how.device, on_progress=how.on_progress)


def _find_poses(trained: TrainedNetwork, images: Images, how: Looking) -> Iterator[PosePrediction | Problem]:
    return find_poses(trained, images, device=how.device, on_progress=how.on_progress)


def _score_masks(
    trained: TrainedNetwork, spec: str | None, root: Path | None
) -> tuple[DataSet, SegmentationEvaluation]:
    dataset = load_data(trained, spec, root)
    return dataset, survey_masks(of_classes(trained, dataset), cast(MaskSplit, dataset.test)).evaluation


TASKS: dict[Task, TaskVerbs] = {
    "classification": TaskVerbs(
        "classify",
        frozenset({"top_k", "batch_size", "engine"}),
        _classify,
        lambda trained, spec, root: evaluate_source(trained, spec, root=root),
        has_fixed_size=True,
    ),
    "segmentation": TaskVerbs("segment", frozenset({"crf", "least_score"}), _segment, _score_masks),
    "detection": TaskVerbs(
        "detect",
        frozenset({"least_score"}),
        _detect,
        lambda trained, spec, root: evaluate_boxes(trained, spec, root=root),
    ),
    "pose": TaskVerbs(
        "find_poses",
        frozenset(),
        _find_poses,
        lambda trained, spec, root: evaluate_poses(trained, spec, root=root),
    ),
}


def score(
    trained: TrainedNetwork, spec: str | None = None, *, root: Path | None = None
) -> tuple[DataSet, AnyEvaluation]:
    """The data set and the task's evaluation, as its recipe's runs are scored.

    Arguments and errors as `evaluate_source`.
    """
    return TASKS[trained.task].score(trained, spec, root)
