"""How ENet's encoder was trained: on the regions of street scenes; here on whole images."""

from convatlas.data.augment import HorizontalFlip
from convatlas.training.recipe import Adam, Recipe

RECIPES = (
    Recipe(
        network="enet_encoder",
        variant="published",
        source="Paszke et al. 2016, section 5; opts.lua of the authors' code",
        expected="none: the paper's encoder classifies regions, not images",
        cost="300 passes over 2,975 images of Cityscapes",
        epochs=300,
        batch_size=10,
        optimizer=Adam(lr=5e-4, weight_decay=2e-4),
        augment=(HorizontalFlip(),),
        notes=(
            "The number of passes, 300, is the default of the authors' opts.lua.",
            "The paper's mirroring is not stated; its class weights belong to the segmentation network.",
        ),
    ),
)
