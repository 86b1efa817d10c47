"""How the pre-activation ResNets were trained."""

from convatlas.data.augment import HorizontalFlip, PCANoise, ScaleJitter
from convatlas.evaluation import OneCrop
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import PAD_AND_MIRROR, cifar10, ilsvrc
from convatlas.training.schedules import Drops, StepDrops

CIFAR = {
    110: (cifar10("6.37", "median of 5 runs"),),
    164: (cifar10("5.46", "median of 5 runs"),),
    1001: (
        cifar10("4.92", "median of 5 runs (4.89 +- 0.14)"),
        cifar10("4.62", "batches of 64, median of 5 runs (4.69 +- 0.20)"),
    ),
}


def _cifar(depth: int) -> Recipe:
    recipe = Recipe(
        network=f"cifar_preresnet{depth}",
        variant="published",
        source="He et al. 2016, appendix",
        expected=str(CIFAR[depth][0]),
        results=CIFAR[depth],
        cost="64,000 steps of 128 images",
        epochs=164,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=StepDrops(at=(32_000, 48_000), of=64_000, warm_up=400),
        augment=PAD_AND_MIRROR,
        notes=("The authors' code takes batches of 64 for 1001 layers and reaches 4.62%.",) if depth == 1001 else (),
    )
    return in_steps(recipe, 64_000, 50_000)


RECIPES = (
    *map(_cifar, CIFAR),
    Recipe(
        network="preresnet200",
        variant="published",
        source="He et al. 2016, appendix",
        expected="20.7% top-1 and 5.3% top-5 error on ILSVRC-2012 validation, one crop of 320 pixels",
        results=(ilsvrc("one crop of 320 px", "20.7", "5.3"),),
        cost="90 passes over 1.2 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=(ScaleJitter((224, 224), (256, 480)), HorizontalFlip(), PCANoise()),
        test_time=OneCrop((320,), side=320),
    ),
)
