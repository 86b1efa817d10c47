"""How SqueezeNet was trained."""

from convatlas.data.augment import RandomCrop
from convatlas.records import PublishedResult
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_MEAN, ILSVRC_IMAGES, caffe_pixels, ilsvrc
from convatlas.training.schedules import Polynomial

VANILLA = ("57.5% top-1 and 80.3% top-5", (ilsvrc("one crop", "42.5", "19.7"),))
PRINTED: dict[str, tuple[str, tuple[PublishedResult, ...]]] = {
    "squeezenet_v1_0": VANILLA,
    "squeezenet_v1_0_caffe_pad1": VANILLA,
    "squeezenet_v1_0_simple_bypass": ("60.4% top-1 and 82.5% top-5", (ilsvrc("one crop", "39.6", "17.5"),)),
    "squeezenet_v1_0_complex_bypass": ("58.8% top-1 and 82.0% top-5", (ilsvrc("one crop", "41.2", "18.0"),)),
    "squeezenet_v1_1": ("at least 80.3% top-5", (ilsvrc("one crop, at most", None, "19.7"),)),
}

RECIPES = tuple(
    in_steps(
        Recipe(
            network=network,
            variant="published",
            source="Iandola et al. 2016, table 3; solver.prototxt and train_val.prototxt of the release",
            expected=f"{accuracy} accuracy on ILSVRC-2012 validation, centre crop",
            results=results,
            cost="170,000 steps of 512 images",
            epochs=68,
            batch_size=512,
            accumulate=16,  # of 32 images
            optimizer=SGD(lr=0.04, momentum=0.9, weight_decay=2e-4),
            schedule=Polynomial(power=1.0),
            augment=(RandomCrop((227, 227)),),
            preprocessing=caffe_pixels(227, mean=CAFFE_MEAN),
            notes=(
                "Initialisation is the network's: Xavier's, and N(0, 0.01) in conv10.",
                "The release does not mirror its images, and its biases learn and decay like the weights.",
                "Images are stretched to 256 x 256 pixels, as Caffe's example makes the database that is named.",
            ),
        ),
        170_000,
        ILSVRC_IMAGES,
    )
    for network, (accuracy, results) in PRINTED.items()
)
