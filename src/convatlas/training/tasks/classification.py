"""Images with a label each."""

from functools import partial

from convatlas.data import Augmentation, LabelAssembly, Loader, Split
from convatlas.evaluation import evaluate
from convatlas.training.losses import per_sample
from convatlas.training.prepare import class_weights
from convatlas.training.recipe import Recipe
from convatlas.training.tasks.parts import Materials, Parts, Score, refuse_others

_TEST_BATCH = 256


def build(made_of: Materials) -> Parts:
    """Batches of labelled images, and the score of a classifier."""
    recipe, data, device = made_of.recipe, made_of.data, made_of.processes.device
    train = Loader(
        LabelAssembly(data.train, made_of.preprocessing, augmentations(recipe)),
        batch_size=recipe.batch_size,
        shuffle=True,
        balanced=recipe.sampling == "balanced",
        seed=recipe.seed,
        device=device,
        workers=made_of.workers,
        share=made_of.share,
        on_progress=made_of.on_loading,
    )
    loss = per_sample(recipe.loss)

    def score(split: Split) -> Score:
        loader = Loader(
            LabelAssembly(split, made_of.preprocessing),
            batch_size=_TEST_BATCH,
            seed=recipe.seed,
            device=device,
            workers=made_of.workers,
            share=made_of.share,
            on_progress=made_of.on_loading,
        )
        gather = made_of.processes.gather
        return partial(evaluate, loader=loader, classes=data.classes, loss=loss, device=device, gather=gather)

    weights = class_weights(recipe, data.train.labels, len(data.classes))
    return Parts(train, weights, score(data.test), None if data.val is None else score(data.val))


def augmentations(recipe: Recipe) -> tuple[Augmentation, ...]:
    """The recipe's augmentations, of which none needs a mask.

    Raises:
        UsageError: one does.
    """
    steps = tuple(step for step in recipe.augment if isinstance(step, Augmentation))
    refuse_others(recipe.augment, steps, f"is for images with masks; {recipe.network} has labels")
    return steps
