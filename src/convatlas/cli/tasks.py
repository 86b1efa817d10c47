"""What differs between the tasks in the commands: one table, with the registry's tasks as its keys."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas.cli.data_detection import check_detection
from convatlas.cli.data_notes import report_annotated, report_data
from convatlas.cli.data_pose import check_pose
from convatlas.cli.data_segmentation import check_segmentation
from convatlas.cli.eval_tasks import Manner, evaluate_detector, evaluate_pose_network, evaluate_segmenter
from convatlas.cli.predict_tasks import RowOf, box_row, mask_row, pose_row
from convatlas.records import Task

Evaluate = Callable[[Any, str | None, Path | None, str | None, Manner], None]


@dataclass(frozen=True)
class TaskCommands:
    """What commands do for networks of one task; None: what they do for classifiers is in the command itself.

    Args:
        evaluate: `eval`, with the network, data, their root, protocol and manner.
        row_of: a line of `predict`.
        check: `data check`, with the data, a contact sheet's path and whether JSON is asked for.
        report_data: what `train` says of its data before it begins.
        classes: what the classes are called.
    """

    evaluate: Evaluate | None = None
    row_of: RowOf | None = None
    check: Callable[[str, Path | None, bool], None] | None = None
    report_data: Callable[[Any], None] = report_data
    classes: str = "classes"


TASKS: dict[Task, TaskCommands] = {
    "classification": TaskCommands(),
    "segmentation": TaskCommands(
        evaluate_segmenter, mask_row, check_segmentation, lambda loaded: report_annotated(loaded, "segmentation")
    ),
    "detection": TaskCommands(
        evaluate_detector, box_row, check_detection, lambda loaded: report_annotated(loaded, "detection")
    ),
    "pose": TaskCommands(
        evaluate_pose_network, pose_row, check_pose, lambda loaded: report_annotated(loaded, "pose"), "joints"
    ),
}
