"""How FractalNet was trained."""

from convatlas.records import PublishedResult
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import CAFFE_BIASES, NORMS_UNDECAYED, PAD_AND_MIRROR, cifar10
from convatlas.training.schedules import Drops

AUGMENTED = "trained with shifts and mirroring (C10+)"
RESULTS: dict[str, tuple[PublishedResult, ...]] = {
    "fractalnet20_cifar10": (cifar10("4.60", AUGMENTED), cifar10("4.68", f"{AUGMENTED}, deepest column alone")),
    "fractalnet40": (cifar10("5.24", AUGMENTED),),
}
RESULTS |= {f"fractalnet_thin_c{columns}": () for columns in range(1, 7)}
THIN = "none printed in our sources: the paper's table of ultra-deep networks is on CIFAR-100"

RECIPES = tuple(
    Recipe(
        network=network,
        variant="published",
        source="Larsson et al. 2016, section 4",
        expected=str(results[0]) if results else THIN,
        results=results,
        cost="400 passes over 50,000 images",
        epochs=400,
        batch_size=100,
        optimizer=SGD(lr=0.02, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 2, 3 / 4, 7 / 8, 15 / 16)),
        augment=PAD_AND_MIRROR,
        groups=(*CAFFE_BIASES, *NORMS_UNDECAYED),
        notes=(
            "The rate is divided by ten whenever the passes that are left have halved; here four times.",
            "The weight decay is not in our sources: the 1e-4 of the other networks for CIFAR. Biases learn twice as "
            "fast and do not decay, by the release's globals.crox.",
            "The release's batch normalisation has no weights and biases; ours has, and they do not decay.",
            "Drop-path, local for half of the batches and global for the others, is part of the network.",
        ),
    )
    for network, results in RESULTS.items()
)
