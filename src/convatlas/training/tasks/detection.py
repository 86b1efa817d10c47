"""Images with objects."""

from functools import partial

from convatlas.data import Loader
from convatlas.data.detection.assembly import BoxAssembly
from convatlas.data.detection.augment import BoxAugmentation
from convatlas.data.detection.split import DetectionSplit
from convatlas.evaluation.detector import evaluate_detector
from convatlas.training.recipe import Recipe
from convatlas.training.tasks.parts import Materials, Parts, Score, expect, refuse_others

_TEST_BATCH = 8


def build(made_of: Materials) -> Parts:
    """Batches of images and objects, and the score of a detector."""
    recipe, data, device = made_of.recipe, made_of.data, made_of.processes.device
    train = Loader(
        BoxAssembly(expect(data.train, DetectionSplit), made_of.preprocessing, augmentations(recipe)),
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        device=device,
        workers=made_of.workers,
        share=made_of.share,
        on_progress=made_of.on_loading,
    )

    def score(split: object) -> Score:
        loader = Loader(
            BoxAssembly(expect(split, DetectionSplit), made_of.preprocessing),
            batch_size=_TEST_BATCH,
            seed=recipe.seed,
            device=device,
            workers=made_of.workers,
            share=made_of.share,
            on_progress=made_of.on_loading,
        )
        gather = made_of.processes.gather if made_of.processes.count > 1 else None
        return partial(
            evaluate_detector, loader=loader, classes=data.classes, device=device, gather=gather, with_loss=True
        )

    return Parts(train, None, score(data.test), None if data.val is None else score(data.val))


def augmentations(recipe: Recipe) -> tuple[BoxAugmentation, ...]:
    """The recipe's augmentations, which move boxes with their images.

    Raises:
        UsageError: one does not.
    """
    steps = tuple(step for step in recipe.augment if isinstance(step, BoxAugmentation))
    refuse_others(recipe.augment, steps, f"knows no boxes; {recipe.network} needs one that does")
    return steps
