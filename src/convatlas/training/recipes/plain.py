"""How the plain nets were trained: as the ResNets beside them, so that only the shortcuts differ."""

from convatlas.data.augment import HorizontalFlip, PadCrop, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

IMAGENET_ERROR = {18: "27.94", 34: "28.54"}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def _imagenet(depth: int) -> Recipe:
    return Recipe(
        network=f"plain{depth}",
        variant="published",
        source="He et al. 2015, section 3.4",
        expected=f"{IMAGENET_ERROR[depth]}% top-1 error on ILSVRC-2012 validation, 10 crops",
        cost="600,000 steps of 256 images",
        epochs=120,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(0.25, 0.5, 0.75)),
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
        notes=(
            "The paper divides the rate by ten when the error plateaus; here at fixed points.",
            "The paper's scale jitter in [256, 480] and its colour noise are not applied.",
        ),
    )


def _cifar(depth: int) -> Recipe:
    return Recipe(
        network=f"cifar_plain{depth}",
        variant="published",
        source="He et al. 2015, section 4.2",
        expected="an error that grows with the depth (figure 6, no number printed)",
        cost="64,000 steps of 128 images",
        epochs=182,  # 64k steps of 128 over 45,000 images
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(0.5, 0.75)),
        augment=(PadCrop(4), HorizontalFlip()),
        notes=("The paper trains on 45,000 images and chooses the schedule on the other 5,000.",),
    )


RECIPES = (*map(_imagenet, IMAGENET_ERROR), *map(_cifar, CIFAR_DEPTHS))
