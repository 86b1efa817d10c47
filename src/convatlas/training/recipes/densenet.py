"""How the densely connected networks were trained."""

from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import FB_RESNET_TORCH, PAD_AND_MIRROR, cifar10, ilsvrc
from convatlas.training.schedules import Drops

# Table 3: one crop, then ten.
IMAGENET = {
    121: (("25.02", "7.71"), ("23.61", "6.66")),
    169: (("23.80", "6.85"), ("22.08", "5.92")),
    201: (("22.58", "6.34"), ("21.46", "5.54")),
    161: (("22.33", "6.15"), ("20.85", "5.30")),
    264: (("22.15", "6.12"), ("20.80", "5.29")),
}
CIFAR_ERROR = {"40_12": "5.24", "100_12": "4.10", "100_24": "3.74"}
CIFAR_ERROR |= {"bc_100_12": "4.51", "bc_250_24": "3.62", "bc_190_40": "3.46"}


def _imagenet(depth: int) -> Recipe:
    one, ten = IMAGENET[depth]
    results = (ilsvrc("one crop", *one), ilsvrc("10 crops", *ten))
    return Recipe(
        network=f"densenet{depth}",
        variant="published",
        source="Huang et al. 2016, section 4.2; the images of fb.resnet.torch, on which the authors built",
        expected=str(results[0]),
        results=results,
        cost="90 passes over 1.28 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=FB_RESNET_TORCH,
    )


def _cifar(network: str) -> Recipe:
    result = cifar10(CIFAR_ERROR[network], "trained with translation and mirroring (C10+)")
    return Recipe(
        network=f"cifar_densenet_{network}",
        variant="published",
        source="Huang et al. 2016, section 4.2",
        expected=str(result),
        results=(result,),
        cost="300 passes over 50,000 images",
        epochs=300,
        batch_size=64,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(0.5, 0.75)),
        augment=PAD_AND_MIRROR,
        notes=("Without augmentation the paper drops a fifth of the maps after each convolution but the first.",),
    )


RECIPES = (*map(_imagenet, IMAGENET), *map(_cifar, CIFAR_ERROR))
