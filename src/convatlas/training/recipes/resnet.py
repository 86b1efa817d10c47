"""How the residual networks were trained."""

from convatlas.data.augment import HorizontalFlip, PadCrop, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

CIFAR_ERROR = {20: "8.75", 32: "7.51", 44: "7.17", 56: "6.97", 110: "6.43 (6.61 +- 0.16)", 1202: "7.93"}
IMAGENET_ERROR = {18: "27.88", 34: "25.03", 50: "22.85", 101: "21.75", 152: "21.43"}
V1_5 = {50: "23.9", 101: "22.6", 152: "21.7"}


def _cifar(depth: int) -> Recipe:
    return Recipe(
        network=f"cifar_resnet{depth}",
        variant="published",
        source="He et al. 2015, section 4.2",
        expected=f"{CIFAR_ERROR[depth]}% test error on CIFAR-10",
        cost="64,000 steps of 128 images",
        epochs=182,  # 64k steps of 128 over 45,000 images
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(0.5, 0.75), warm_up=400 / 64_000 if depth >= 110 else 0.0),
        channels_last=True,
        augment=(PadCrop(4), HorizontalFlip()),
        notes=("The paper trains on 45,000 images and chooses the schedule on the other 5,000.",),
    )


def _imagenet(network: str, source: str, expected: str) -> Recipe:
    return Recipe(
        network=network,
        variant="published",
        source=source,
        expected=expected,
        cost="600,000 steps of 256 images",
        epochs=120,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(0.25, 0.5, 0.75)),
        channels_last=True,
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
        notes=(
            "The paper divides the rate by ten when the error plateaus; here at fixed points.",
            "The paper's scale jitter in [256, 480] and its colour noise are not applied.",
        ),
    )


RECIPES = (
    *(_cifar(depth) for depth in CIFAR_ERROR),
    *(
        _imagenet(
            f"resnet{depth}",
            "He et al. 2015, section 3.4",
            f"{error}% top-1 error on ILSVRC-2012 validation, 10 crops",
        )
        for depth, error in IMAGENET_ERROR.items()
    ),
    *(
        _imagenet(
            f"resnet{depth}_stride3x3",
            "facebookarchive/fb.resnet.torch, the recipe of He et al. 2015 with the stride on the 3x3",
            f"about {error}% top-1 error on ILSVRC-2012 validation, centre crop",
        )
        for depth, error in V1_5.items()
    ),
)
