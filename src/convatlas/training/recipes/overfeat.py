"""How the OverFeat networks were trained to classify."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

EPOCHS = 90  # not printed; ten more than the last drop


def _recipe(network: str, side: int, expected: str) -> Recipe:
    return Recipe(
        network=network,
        variant="published",
        source="Sermanet et al. 2013, section 3.1",
        expected=expected,
        cost=f"{EPOCHS} passes over 1.2 million images",
        epochs=EPOCHS,
        batch_size=128,
        optimizer=SGD(lr=0.05, momentum=0.6, weight_decay=1e-5),
        schedule=Drops(at=tuple(epoch / EPOCHS for epoch in (30, 50, 60, 70, 80)), divisor=2),
        augment=(RandomCrop((side, side)), HorizontalFlip()),
        notes=(
            "The paper halves the rate after 30, 50, 60, 70 and 80 passes and does not print how many follow.",
            "The paper's batches hold five crops and their mirror images of fewer pictures; here one crop of each.",
        ),
    )


RECIPES = (
    _recipe(
        "overfeat_fast", 231, "39.28% top-1 and 17.12% top-5 error on ILSVRC-2012 validation, one scale, coarse stride"
    ),
    _recipe("overfeat_accurate", 221, "35.7% top-1 and 14.2% top-5 error on ILSVRC-2012 validation, one network"),
)
