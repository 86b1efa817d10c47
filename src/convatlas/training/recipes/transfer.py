"""One good default for starting from trained weights on a hundred to ten thousand images of one's own."""

from dataclasses import replace

from convatlas.data import Augmentation, HorizontalFlip, PadCrop, RandomResizedCrop
from convatlas.records import Preprocessing
from convatlas.registry import NetworkCard
from convatlas.training.finetuning import FineTune
from convatlas.training.losses import CrossEntropy
from convatlas.training.recipe import AdamW, Recipe
from convatlas.training.schedules import Cosine

IMAGES = 2_500  # that a run sees in all, where the set is small
EPOCHS = (5, 25)


def transfer(network: NetworkCard, preprocessing: Preprocessing, weights: str, samples: int) -> Recipe:
    """The head alone for a quarter of the run, then all layers, the first ones at a tenth of the last ones' rate.

    Small sets get more passes, at least `EPOCHS[0]` and at most `EPOCHS[1]`. The crops keep at least a third of the
    image: of ants and bees there is little to see in the 8% that training from scratch may leave.
    """
    height, width = preprocessing.size
    epochs = min(max(-(-IMAGES // samples), EPOCHS[0]), EPOCHS[1])
    augment: tuple[Augmentation, ...] = ()
    if preprocessing.channels > 1:
        crop = PadCrop(4) if max(height, width) <= 64 else RandomResizedCrop((height, width), scale=(0.35, 1.0))
        augment = (crop, HorizontalFlip())
    return Recipe(
        network=network.name,
        variant="transfer",
        source="this project; Yosinski et al. 2014, Howard and Ruder 2018",
        epochs=epochs,
        batch_size=32,
        optimizer=AdamW(lr=1e-3, weight_decay=0.01),
        schedule=Cosine(warm_up=0.05),
        loss=CrossEntropy(label_smoothing=0.1),
        augment=augment,
        preprocessing=preprocessing,
        fine_tune=FineTune(weights, head_epochs=max(epochs // 4, 1)),
    )


def start_from(weights: str, recipe: Recipe) -> Recipe:
    """The same recipe from trained weights: all layers learn from the first step, at the recipe's rate."""
    start = FineTune(weights, head_epochs=0, first_rate=1.0, last_rate=1.0, frozen_batchnorm=False)
    return replace(recipe, fine_tune=start)
