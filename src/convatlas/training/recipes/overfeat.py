"""How the OverFeat networks were trained to classify."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.evaluation import Dense
from convatlas.records import PublishedResult
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import ilsvrc
from convatlas.training.schedules import Drops

EPOCHS = 90  # not printed; ten more than the last drop


def _recipe(network: str, side: int, scales: tuple[int, ...], *results: PublishedResult) -> Recipe:
    return Recipe(
        network=network,
        variant="published",
        source="Sermanet et al. 2013, sections 3.1 and 3.3",
        expected=str(results[0]),
        results=results,
        cost=f"{EPOCHS} passes over 1.2 million images",
        epochs=EPOCHS,
        batch_size=128,
        optimizer=SGD(lr=0.05, momentum=0.6, weight_decay=1e-5),
        schedule=Drops(at=tuple(epoch / EPOCHS for epoch in (30, 50, 60, 70, 80)), divisor=2),
        augment=(RandomCrop((side, side)), HorizontalFlip()),
        test_time=Dense(scales, pool="max"),
        notes=(
            "The paper halves the rate after 30, 50, 60, 70 and 80 passes and does not print how many follow.",
            "The paper's batches hold five crops and their mirror images of fewer images; here one crop of each.",
            "The short sides of the test scales are those of table 5 as we recall them; the test runs at the fine "
            "stride, with every offset of the last pooling.",
            "Initialisation is the network's: weights from N(0, 0.01), biases 0.",
        ),
    )


FOUR = "245, 281, 389 and 461 px"
# Table 2. At the coarse stride the last pooling has one offset, at the fine one all of them.
RECIPES = (
    _recipe(
        "overfeat_fast",
        231,
        (245,),
        ilsvrc("dense, best position at 245 px", "39.01", "16.97"),
        ilsvrc("dense, best position at 245 px, coarse stride", "39.28", "17.12"),
        ilsvrc(f"dense, best position at {FOUR}", "38.57", "16.39"),
        ilsvrc(f"7 networks, dense, best position at {FOUR}", "35.10", "13.86"),
    ),
    _recipe(
        "overfeat_accurate",
        221,
        (245, 281, 389, 461),
        ilsvrc(f"dense, best position at {FOUR}", "35.74", "14.18"),
        ilsvrc(f"4 corner views at {FOUR}", "35.60", "14.71"),
        ilsvrc(f"7 networks, dense, best position at {FOUR}", "33.96", "13.24"),
    ),
)
