"""How ENet was trained: the encoder on the regions, then the whole network, with classes weighted by their rarity."""

from convatlas import registry
from convatlas.records import Preprocessing
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.recipe import Adam, Recipe
from convatlas.training.schedules import Drops

EPOCHS = 300
EXPECTED = "Cityscapes test: class IU 58.3, category IU 80.4; CamVid: mean IU 51.3, class accuracy 68.3"


def _input(network: str) -> Preprocessing:
    """Values of 0..1 and nothing subtracted, as the authors' loaders leave the images."""
    _, height, width = registry.card(network).input_shape
    return Preprocessing(
        (height, width), resize="short_side", resize_to=height, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )


RECIPES = tuple(
    Recipe(
        network=network,
        variant="published",
        source="Paszke et al. 2016, section 5; opts.lua and train.lua of the authors' code",
        expected=EXPECTED,
        cost="300 passes over 2,975 images of Cityscapes, twice",
        epochs=EPOCHS,
        batch_size=10,
        optimizer=Adam(lr=5e-4, weight_decay=2e-4),
        schedule=Drops(at=(99 / EPOCHS, 199 / EPOCHS)),
        loss=PixelCrossEntropy(),
        class_weights="inverse_log",
        preprocessing=_input(network),
        notes=(
            "Starts from an encoder that was trained first on the regions, `enet_encoder`.",
            "The weight of a class is 1 / ln(1.02 + p); the authors' code has 1.2 for the encoder.",
            "The number of passes, 300, is the default of the authors' opts.lua.",
            "The rate falls to a tenth with the 100th and the 200th pass, as opts.lua says of lrDecayEvery. What "
            "train.lua multiplies it by is learningRateDecay, 1e-7, so that the authors' runs end with the 99th.",
            "Unlabelled pixels have no loss, as in the authors' code, where their class weighs 0.",
        ),
    )
    for network in ("enet_cityscapes_512", "enet_640x360", "enet_relu_decoder_512")
)
