"""What differs between the tasks in a run: what a batch holds, what counts as wrong, and how a network is scored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from torch import Tensor, nn

from convatlas.data import Augmentation, DataSet, Loader, Split
from convatlas.data.dense.assembly import MaskAssembly
from convatlas.data.dense.splits import MaskSplit
from convatlas.data.detection.augment import BoxAugmentation
from convatlas.data.detection.loader import DetectionLoader
from convatlas.data.detection.split import DetectionSplit
from convatlas.data.paired import PairedLoader
from convatlas.data.pose.assembly import PersonAssembly
from convatlas.data.pose.people import PeopleSplit
from convatlas.errors import UsageError
from convatlas.evaluation import evaluate
from convatlas.evaluation.detector import evaluate_detector
from convatlas.evaluation.pose_network import evaluate_pose
from convatlas.evaluation.segmenter import evaluate_segmenter, output_margin
from convatlas.records import HasLosses, Preprocessing, Problem
from convatlas.training.dense_losses import BorderCrossEntropy, HeatmapSquaredError, PixelCrossEntropy, pixel_loss
from convatlas.training.dense_weights import mask_class_weights
from convatlas.training.distributed import Processes
from convatlas.training.losses import CrossEntropy, MaximumAPosteriori, SquaredError, per_sample
from convatlas.training.own_losses import OwnLosses
from convatlas.training.prepare import class_weights
from convatlas.training.recipe import Recipe


class Scored(Protocol):
    """What an evaluation of any task has."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def loss(self) -> float: ...
    @property
    def error(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def problems(self) -> tuple[Problem, ...]: ...
    @property
    def protocol(self) -> str: ...
    def scores(self) -> dict[str, float]: ...


class Batches(Protocol):
    """The training part, batch by batch."""

    @property
    def split(self) -> Any: ...
    def __len__(self) -> int: ...
    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Any]: ...


Score = Callable[[nn.Module], Any]


@dataclass(frozen=True)
class Parts:
    """Data and scores of one task; each score gives what `Scored` describes."""

    train: Batches
    class_weights: Tensor | None  # (K,) in the loss
    test: Score
    val: Score | None  # None: there is no validation split

    @classmethod
    def of(cls, data: DataSet, train: Batches, class_weights: Tensor | None, scorer: Callable[[Any], Score]) -> "Parts":
        """`scorer` makes the score of a split."""
        return cls(train, class_weights, scorer(data.test), None if data.val is None else scorer(data.val))


Progress = Callable[[int, int], None]

LOSSES: dict[str, tuple[type, ...]] = {
    "classification": (CrossEntropy, SquaredError, MaximumAPosteriori),
    "segmentation": (PixelCrossEntropy, BorderCrossEntropy, OwnLosses),
    "detection": (OwnLosses,),
    "pose": (HeatmapSquaredError,),
}


def parts(
    task: str,
    recipe: Recipe,
    data: DataSet,
    preprocessing: Preprocessing,
    processes: Processes,
    net: nn.Module,
    *,
    workers: int = 0,
    on_loading: Progress | None = None,
) -> Parts:
    """The data of a run, batch by batch, and the way its network is scored. `net` is looked at, not changed.

    Raises:
        UsageError: the recipe's loss, one of its augmentations or another field is for another task.
    """
    if not isinstance(recipe.loss, LOSSES[task]):
        expected = ", ".join(loss.__name__ for loss in LOSSES[task])
        raise UsageError(f"loss: {type(recipe.loss).__name__} is not for {task}; expected {expected}")
    if isinstance(recipe.loss, OwnLosses) and not isinstance(net, HasLosses):
        raise UsageError(f"loss: OwnLosses needs a network with losses of its own; {recipe.network} has none")
    if recipe.sampling != "shuffled" and task != "classification":
        raise UsageError(f"sampling is {recipe.sampling}, which asks for a class for each image; {task} has none")
    if recipe.class_weights is not None and task in ("detection", "pose"):
        raise UsageError(f"class_weights have no place in {task}: its losses take none")
    if task == "detection":
        return _detection(recipe, data, preprocessing, processes, workers, on_loading)
    if task == "pose":
        return _pose(recipe, data, preprocessing, processes, workers)
    if task == "segmentation":
        return _segmentation(recipe, data, preprocessing, processes, net, workers)
    return _classification(recipe, data, preprocessing, processes, workers, on_loading)


def _classification(
    recipe: Recipe,
    data: DataSet,
    preprocessing: Preprocessing,
    processes: Processes,
    workers: int,
    on_loading: Progress | None,
) -> Parts:
    share, device = (processes.rank, processes.count), processes.device
    common = {"seed": recipe.seed, "device": device, "workers": workers, "on_progress": on_loading, "share": share}
    train = Loader(
        data.train,
        preprocessing,
        batch_size=recipe.batch_size,
        augment=for_images(recipe),
        shuffle=True,
        balanced=recipe.sampling == "balanced",
        **common,
    )
    loss = per_sample(recipe.loss)

    def scorer(split: Split) -> Score:
        loader = Loader(split, preprocessing, batch_size=256, **common)
        return partial(evaluate, loader=loader, classes=data.classes, loss=loss, device=device, gather=processes.gather)

    return Parts.of(data, train, class_weights(recipe, data.train.labels, len(data.classes)), scorer)


def for_images(recipe: Recipe) -> tuple[Augmentation, ...]:
    """The recipe's augmentations, of which none needs a mask.

    Raises:
        UsageError: one does.
    """
    for step in recipe.augment:
        if not isinstance(step, Augmentation):
            raise UsageError(f"augment: {type(step).__name__} is for images with masks; {recipe.network} has labels")
    return recipe.augment  # pyright: ignore[reportReturnType]


def _segmentation(
    recipe: Recipe, data: DataSet, preprocessing: Preprocessing, processes: Processes, net: nn.Module, workers: int
) -> Parts:
    share, device = (processes.rank, processes.count), processes.device
    margin = output_margin(net, (preprocessing.channels, *preprocessing.size))
    masks = cast(MaskSplit, data.train)
    assemble = MaskAssembly(preprocessing, recipe.augment, margin)
    train = PairedLoader(
        masks,
        preprocessing,
        assemble,
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        device=device,
        workers=workers,
        share=share,
    )
    loss = per_sample(pixel_loss(recipe.loss))
    scorer = partial(
        _bind,
        evaluate_segmenter,
        preprocessing=preprocessing,
        classes=data.classes,
        loss=loss,
        device=device,
        share=share,
        gather=processes.gather,
    )
    return Parts.of(data, train, mask_class_weights(recipe, masks, len(data.classes)), scorer)


def _bind(evaluate_split: Callable[..., Any], split: Any, **settings: Any) -> Score:
    """The evaluation of one split, which is left with the network as its argument."""
    return partial(evaluate_split, split=split, **settings)


def _detection(
    recipe: Recipe,
    data: DataSet,
    preprocessing: Preprocessing,
    processes: Processes,
    workers: int,
    on_loading: Progress | None,
) -> Parts:
    device = processes.device
    for step in recipe.augment:
        if not isinstance(step, BoxAugmentation):
            raise UsageError(f"augment: {type(step).__name__} knows no boxes; {recipe.network} needs one that does")
    share = {"share": (processes.rank, processes.count), "device": device, "seed": recipe.seed}
    common = {**share, "workers": workers, "on_progress": on_loading}
    marked = cast(DetectionSplit, data.train)
    train = DetectionLoader(
        marked,
        preprocessing,
        batch_size=recipe.batch_size,
        augment=recipe.augment,  # pyright: ignore[reportArgumentType]
        shuffle=True,
        **common,
    )

    def scorer(split: DetectionSplit) -> Score:
        return partial(
            evaluate_detector,
            loader=DetectionLoader(split, preprocessing, batch_size=8, **common),
            classes=data.classes,
            device=device,
            gather=processes.gather if processes.count > 1 else None,
            with_loss=True,
        )

    return Parts.of(data, train, None, scorer)


def _pose(recipe: Recipe, data: DataSet, preprocessing: Preprocessing, processes: Processes, workers: int) -> Parts:
    share, device = (processes.rank, processes.count), processes.device
    people = cast(PeopleSplit, data.train)
    train = PairedLoader(
        people,
        preprocessing,
        PersonAssembly(preprocessing, people.names, recipe.augment),
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        device=device,
        workers=workers,
        share=share,
    )
    scorer = partial(
        _bind,
        evaluate_pose,
        preprocessing=preprocessing,
        loss=per_sample(recipe.loss),
        device=device,
        share=share,
        gather=processes.gather,
    )
    return Parts.of(data, train, None, scorer)
