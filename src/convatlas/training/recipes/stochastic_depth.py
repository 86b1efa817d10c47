"""How the networks of stochastic depth were trained."""

from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import PAD_AND_MIRROR, cifar10
from convatlas.training.schedules import Drops

CIFAR_ERROR = {110: "5.25", 1202: "4.91"}


def _recipe(depth: int, suffix: str) -> Recipe:
    result = cifar10(CIFAR_ERROR[depth], "trained with translation and mirroring")
    return Recipe(
        network=f"stochastic_depth_{depth}{suffix}",
        variant="published",
        source="Huang et al. 2016, section 4; yueatsprograms/Stochastic_Depth, main.lua",
        expected=str(result),
        results=(result,),
        cost="500 passes over 45,000 images",
        epochs=500,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(0.5, 0.75)),  # main.lua drops one epoch earlier, as it counts from 1
        augment=PAD_AND_MIRROR,
        notes=(
            "The paper trains on 45,000 images and chooses the best pass on the other 5,000; here the last pass is the "
            "result.",
        ),
    )


RECIPES = tuple(_recipe(depth, suffix) for suffix in ("", "_released") for depth in CIFAR_ERROR)
