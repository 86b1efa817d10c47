"""A trained network of any task on the test part of a data set, as its recipe's runs are scored."""

from pathlib import Path
from typing import Any, cast

from convatlas.data import DataSet
from convatlas.data.dense.splits import MaskSplit
from convatlas.inference.boxes import evaluate_boxes
from convatlas.inference.classes import of_classes
from convatlas.inference.evaluate import evaluate_source, load_data
from convatlas.inference.maps import survey_masks
from convatlas.inference.poses import evaluate_poses
from convatlas.inference.source import Source


def score(source: Source, spec: str | None = None, *, root: Path | None = None) -> tuple[DataSet, Any]:
    """The data set and the task's evaluation (`training.tasks.Scored`); arguments and errors as `evaluate_source`."""
    if source.task == "segmentation":
        dataset = load_data(source, spec, root)
        return dataset, survey_masks(of_classes(source, dataset), cast(MaskSplit, dataset.test)).evaluation
    if source.task == "detection":
        return evaluate_boxes(source, spec, root=root)
    if source.task == "pose":
        return evaluate_poses(source, spec, root=root)
    return evaluate_source(source, spec, root=root)
