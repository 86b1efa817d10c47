"""How the networks of stochastic depth were trained."""

from convatlas.data.augment import HorizontalFlip, PadCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

CIFAR_ERROR = {110: "5.25", 1202: "4.91"}


def _recipe(depth: int, suffix: str) -> Recipe:
    return Recipe(
        network=f"stochastic_depth_{depth}{suffix}",
        variant="published",
        source="Huang et al. 2016, section 4; yueatsprograms/Stochastic_Depth, main.lua",
        expected=f"{CIFAR_ERROR[depth]}% test error on CIFAR-10 with augmentation",
        cost="500 passes over 45,000 images",
        epochs=500,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(0.5, 0.75)),
        augment=(PadCrop(4), HorizontalFlip()),
        notes=("The paper trains on 45,000 images and chooses the best pass on the other 5,000.",),
    )


RECIPES = tuple(_recipe(depth, suffix) for suffix in ("", "_released") for depth in CIFAR_ERROR)
