"""People with their joints."""

from functools import partial

from convatlas.data import Loader
from convatlas.data.pose.assembly import PersonAssembly
from convatlas.data.pose.people import PeopleSplit
from convatlas.data.pose.transform import PersonAugmentation
from convatlas.evaluation.pose_network import evaluate_pose
from convatlas.training.losses import per_sample
from convatlas.training.recipe import Recipe
from convatlas.training.tasks.parts import Materials, Parts, Score, expect, refuse_others


def build(made_of: Materials) -> Parts:
    """Batches of people and heat maps, and the score of a pose network."""
    recipe, data, device = made_of.recipe, made_of.data, made_of.processes.device
    train = Loader(
        PersonAssembly(expect(data.train, PeopleSplit), made_of.preprocessing, augmentations(recipe)),
        batch_size=recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        device=device,
        workers=made_of.workers,
        share=made_of.share,
        on_progress=made_of.on_loading,
    )

    def score(split: object) -> Score:
        return partial(
            evaluate_pose,
            split=expect(split, PeopleSplit),
            preprocessing=made_of.preprocessing,
            loss=per_sample(recipe.loss),
            device=device,
            share=made_of.share,
            gather=made_of.processes.gather,
        )

    return Parts(train, None, score(data.test), None if data.val is None else score(data.val))


def augmentations(recipe: Recipe) -> tuple[PersonAugmentation, ...]:
    """The recipe's augmentations, which move joints with their images.

    Raises:
        UsageError: one does not.
    """
    steps = tuple(step for step in recipe.augment if isinstance(step, PersonAugmentation))
    refuse_others(recipe.augment, steps, "knows no joints; expected TurnAndScale, HorizontalFlip or colours")
    return steps
