"""How FractalNet was trained."""

from convatlas.data.augment import HorizontalFlip, PadCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

ERROR = {
    "fractalnet20_cifar10": "4.60% test error on CIFAR-10 with shifts and mirroring (C10+), 4.68% with column 3 alone",
    "fractalnet40": "5.24% test error on CIFAR-10 with shifts and mirroring (C10+)",
}
THIN = "none printed in our sources: the paper's table of ultra-deep networks is on CIFAR-100"

RECIPES = tuple(
    Recipe(
        network=network,
        variant="published",
        source="Larsson et al. 2016, section 4",
        expected=expected,
        cost="400 passes over 50,000 images",
        epochs=400,
        batch_size=100,
        optimizer=SGD(lr=0.02, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 2, 3 / 4, 7 / 8, 15 / 16)),
        augment=(PadCrop(4), HorizontalFlip()),
        notes=(
            "The rate is divided by ten whenever the passes that are left have halved; here four times.",
            "The weight decay is not in our sources: the 1e-4 of the other networks for CIFAR.",
            "Drop-path, local for half of the batches and global for the others, is part of the network.",
        ),
    )
    for network, expected in (ERROR | {f"fractalnet_thin_c{columns}": THIN for columns in range(1, 7)}).items()
)
