"""How ENet was trained: the encoder on the regions, then the whole network, with classes weighted by their rarity."""

from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.recipe import Adam, Recipe

EXPECTED = "Cityscapes test: class IU 58.3, category IU 80.4; CamVid: mean IU 51.3, class accuracy 68.3"

RECIPES = tuple(
    Recipe(
        network=network,
        variant="published",
        source="Paszke et al. 2016, section 4; opts.lua of the authors' code",
        expected=EXPECTED,
        cost="300 passes over 2,975 images of Cityscapes, twice",
        epochs=300,
        batch_size=10,
        optimizer=Adam(lr=5e-4, weight_decay=2e-4),
        loss=PixelCrossEntropy(),
        class_weights="inverse_log",
        notes=(
            "Starts from an encoder that was trained first on the regions, `enet_encoder`.",
            "The weight of a class is 1 / ln(1.02 + p); the authors' code has 1.2 for the encoder.",
            "The number of passes, 300, is the default of the authors' opts.lua.",
        ),
    )
    for network in ("enet_cityscapes_512", "enet_640x360", "enet_relu_decoder_512")
)
