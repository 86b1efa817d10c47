"""How the pre-activation ResNets were trained."""

from convatlas.data.augment import HorizontalFlip, PadCrop, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

CIFAR_ERROR = {110: "6.37", 164: "5.46", 1001: "4.92 (4.89 +- 0.14)"}


def _cifar(depth: int) -> Recipe:
    return Recipe(
        network=f"cifar_preresnet{depth}",
        variant="published",
        source="He et al. 2016, appendix",
        expected=f"{CIFAR_ERROR[depth]}% test error on CIFAR-10, median of 5 runs",
        cost="64,000 steps of 128 images",
        epochs=164,  # 64k steps of 128 over 50,000 images
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(0.5, 0.75), warm_up=400 / 64_000),
        augment=(PadCrop(4), HorizontalFlip()),
        notes=("The authors' code takes batches of 64 for 1001 layers and reaches 4.62%.",) if depth == 1001 else (),
    )


RECIPES = (
    *map(_cifar, CIFAR_ERROR),
    Recipe(
        network="preresnet200",
        variant="published",
        source="He et al. 2016, appendix",
        expected="20.7% top-1 and 5.3% top-5 error on ILSVRC-2012 validation, one crop of 320 pixels",
        cost="90 passes over 1.2 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
        notes=("The paper's scale jitter in [256, 480] and its colour noise are not applied.",),
    ),
)
