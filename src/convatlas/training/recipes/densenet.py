"""How the densely connected networks were trained."""

from convatlas.data.augment import HorizontalFlip, PadCrop, RandomResizedCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

IMAGENET_ERROR = {121: "25.02% top-1 and 7.71", 169: "23.80% top-1 and 6.85", 201: "22.58% top-1 and 6.34"}
IMAGENET_ERROR |= {161: "22.33% top-1 and 6.15"}
CIFAR_ERROR = {"40_12": "5.24", "100_12": "4.10", "100_24": "3.74"}
CIFAR_ERROR |= {"bc_100_12": "4.51", "bc_250_24": "3.62", "bc_190_40": "3.46"}


def _imagenet(depth: int) -> Recipe:
    return Recipe(
        network=f"densenet{depth}",
        variant="published",
        source="Huang et al. 2016, section 4.2",
        expected=f"{IMAGENET_ERROR[depth]}% top-5 error on ILSVRC-2012 validation, centre crop",
        cost="90 passes over 1.28 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
        notes=("The colour noise and lighting of fb.resnet.torch, on which the authors built, are not applied.",),
    )


def _cifar(network: str) -> Recipe:
    return Recipe(
        network=f"cifar_densenet_{network}",
        variant="published",
        source="Huang et al. 2016, section 4.2",
        expected=f"{CIFAR_ERROR[network]}% test error on CIFAR-10 with translation and mirroring (C10+)",
        cost="300 passes over 50,000 images",
        epochs=300,
        batch_size=64,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(0.5, 0.75)),
        augment=(PadCrop(4), HorizontalFlip()),
        notes=("Without augmentation the paper drops a fifth of the maps after each convolution but the first.",),
    )


RECIPES = (*(_imagenet(depth) for depth in IMAGENET_ERROR), *(_cifar(network) for network in CIFAR_ERROR))
