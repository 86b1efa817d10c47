"""How U-Net was trained: one large tile at a time, a momentum of 0.99, borders weighted, slices deformed."""

from convatlas.data.segmentation.augment import GridElastic, RandomOrientation
from convatlas.training.dense_losses import BorderCrossEntropy
from convatlas.training.recipe import SGD, Recipe

RECIPES = tuple(
    Recipe(
        network=network,
        variant="published",
        source="Ronneberger et al. 2015, section 3",
        expected="ISBI 2012: warping error 0.000353, Rand error 0.0382, pixel error 0.0611 (seven rotations averaged)",
        cost="10 hours on a 6 GB NVidia Titan",
        epochs=1000,
        batch_size=1,
        optimizer=SGD(lr=1e-4, momentum=0.99),
        loss=BorderCrossEntropy(),
        augment=(RandomOrientation(), GridElastic()),
        notes=(
            "The paper prints neither a learning rate nor a number of passes: 1e-4, which the momentum multiplies by "
            "100, and 1,000 passes over 30 slices are ours.",
            "Of the augmentations only the elastic one has printed constants; rotations are the eight exact ones.",
        ),
    )
    for network in ("unet", "unet_phseg_v5_release")
)
