"""What differs between the tasks in a run: one table, with the registry's tasks as its keys."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from convatlas.errors import UsageError
from convatlas.records import HasLosses, Task
from convatlas.training.dense_losses import BorderCrossEntropy, HeatmapSquaredError, PixelCrossEntropy
from convatlas.training.losses import CrossEntropy, MaximumAPosteriori, SquaredError
from convatlas.training.mistakes import wrong_joints, wrong_labels, wrong_pixels
from convatlas.training.own_losses import OwnLosses
from convatlas.training.tasks import classification, detection, pose, segmentation
from convatlas.training.tasks.parts import Materials, Parts


@dataclass(frozen=True)
class TrainingTask:
    """How networks of one task learn.

    Args:
        build: makes batches and scores.
        losses: that a recipe may have.
        count_wrong: (outputs, targets) -> how many of the samples are wrong; None: nobody knows.
        has_classes: an image has one class, so that sampling can be balanced, the same image in two classes is a
            conflict, and the test-time views of classifiers apply.
        weighs_classes: the losses take a weight for each class.
    """

    build: Callable[[Materials], Parts]
    losses: tuple[type, ...]
    count_wrong: Callable[[Tensor, Tensor], Tensor] | None
    has_classes: bool = False
    weighs_classes: bool = False


TASKS: dict[Task, TrainingTask] = {
    "classification": TrainingTask(
        classification.build,
        (CrossEntropy, SquaredError, MaximumAPosteriori),
        wrong_labels,
        has_classes=True,
        weighs_classes=True,
    ),
    "segmentation": TrainingTask(
        segmentation.build, (PixelCrossEntropy, BorderCrossEntropy, OwnLosses), wrong_pixels, weighs_classes=True
    ),
    "detection": TrainingTask(detection.build, (OwnLosses,), None),
    "pose": TrainingTask(pose.build, (HeatmapSquaredError,), wrong_joints),
}


def build_parts(task: Task, made_of: Materials) -> Parts:
    """The data of a run, batch by batch, and the way its network is scored.

    Raises:
        UsageError: the recipe's loss, one of its augmentations or another field is for another task.
    """
    recipe, allowed = made_of.recipe, TASKS[task]
    if not isinstance(recipe.loss, allowed.losses):
        expected = ", ".join(loss.__name__ for loss in allowed.losses)
        raise UsageError(f"loss: {type(recipe.loss).__name__} is not for {task}; expected {expected}")
    if isinstance(recipe.loss, OwnLosses) and not isinstance(made_of.net, HasLosses):
        raise UsageError(f"loss: OwnLosses needs a network with losses of its own; {recipe.network} has none")
    if recipe.sampling != "shuffled" and not allowed.has_classes:
        raise UsageError(f"sampling is {recipe.sampling}, which asks for a class for each image; {task} has none")
    if recipe.class_weights is not None and not allowed.weighs_classes:
        raise UsageError(f"class_weights have no place in {task}: its losses take none")
    return allowed.build(made_of)
