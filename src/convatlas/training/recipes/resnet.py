"""How the residual networks were trained."""

from convatlas.data.augment import HorizontalFlip, PCANoise, ScaleJitter
from convatlas.evaluation import TenCrops
from convatlas.records import PublishedResult
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import (
    FB_RESNET_TORCH,
    ILSVRC_IMAGES,
    KERNELS_DECAYED,
    PAD_AND_MIRROR,
    cifar10,
    ilsvrc,
    pixels,
)
from convatlas.training.schedules import Drops, Plateau, StepDrops

CIFAR_ERROR = {20: "8.75", 32: "7.51", 44: "7.17", 56: "6.97", 110: "6.43", 1202: "7.93"}
DENSE = "dense at 224, 256, 384, 480 and 640 px"

# Tables 2, 3 and 4, and the readme of the release for one crop. The 18 and 34 layers of table 2 have option A.
OPTION_A = {18: ("27.88", None), 34: ("25.03", "7.76")}  # table 2, beside plain networks of 27.94 and 28.54
IMAGENET = {
    18: (ilsvrc("10 crops", "27.88", printed_for="shortcut option A"),),
    34: (
        ilsvrc("10 crops", "24.52", "7.46"),
        ilsvrc("10 crops", "25.03", "7.76", printed_for="shortcut option A"),
        ilsvrc(DENSE, "21.84", "5.71"),
    ),
    50: (ilsvrc("10 crops", "22.85", "6.71"), ilsvrc("one crop", "24.7", "7.8"), ilsvrc(DENSE, "20.74", "5.25")),
    101: (ilsvrc("10 crops", "21.75", "6.05"), ilsvrc("one crop", "23.6", "7.1"), ilsvrc(DENSE, "19.87", "4.60")),
    152: (ilsvrc("10 crops", "21.43", "5.71"), ilsvrc("one crop", "23.0", "6.7"), ilsvrc(DENSE, "19.38", "4.49")),
}
# facebookarchive/fb.resnet.torch, pretrained/README.md
FB_ERROR = {50: ("24.01", "7.02"), 101: ("22.44", "6.21"), 152: ("22.16", "6.16")}
FB_TEN_CROPS = {50: ("22.24", "6.08"), 101: ("21.08", "5.35"), 152: ("20.69", "5.21")}

PLATEAU = (
    "The paper divides the rate by ten when the error plateaus; here after five passes without a new least test error."
)


UNDECAYED = (
    "The paper does not say what decays. By the readme of fb.resnet.torch it is the weights alone, without biases and "
    "batch normalisation."
)


def he_recipe(network: str, results: tuple[PublishedResult, ...], *notes: str) -> Recipe:
    """Section 3.4 of He et al. 2015, for residual and for plain networks."""
    recipe = Recipe(
        network=network,
        variant="published",
        source="He et al. 2015, section 3.4",
        expected=str(results[0]),
        results=results,
        cost="600,000 steps of 256 images",
        epochs=120,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Plateau(patience=5, divisor=10, drops=3),
        channels_last=True,
        augment=(ScaleJitter((224, 224), (256, 480)), HorizontalFlip(), PCANoise()),
        preprocessing=pixels(224),
        test_time=TenCrops(),
        groups=KERNELS_DECAYED,
        notes=(PLATEAU, UNDECAYED, "Initialisation is the network's: He et al. 2015, without dropout.", *notes),
    )
    return in_steps(recipe, 600_000, ILSVRC_IMAGES)


def he_cifar_recipe(network: str, expected: str, results: tuple[PublishedResult, ...], *, warm_up: bool) -> Recipe:
    """Section 4.2 of He et al. 2015, for residual and for plain networks."""
    recipe = Recipe(
        network=network,
        variant="published",
        source="He et al. 2015, section 4.2",
        expected=expected,
        results=results,
        cost="64,000 steps of 128 images",
        epochs=182,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=StepDrops(at=(32_000, 48_000), of=64_000, warm_up=400 if warm_up else 0),
        channels_last=True,
        augment=PAD_AND_MIRROR,
        groups=KERNELS_DECAYED,
        notes=(
            UNDECAYED,
            "The paper trains on 45,000 images and chooses the schedule on the other 5,000.",
            "The paper subtracts the mean of each pixel; here each channel is brought to mean 0 and deviation 1, which "
            "the batch normalisation after the first layer makes the same but for the mean image.",
        ),
    )
    return in_steps(recipe, 64_000, 45_000)


def _cifar(depth: int) -> Recipe:
    protocol = "best of 5 runs (6.61 +- 0.16)" if depth == 110 else ""
    result = cifar10(CIFAR_ERROR[depth], protocol)
    return he_cifar_recipe(f"cifar_resnet{depth}", str(result), (result,), warm_up=depth >= 110)


def _stride3x3(depth: int) -> Recipe:
    results = ilsvrc("one crop", *FB_ERROR[depth]), ilsvrc("10 crops", *FB_TEN_CROPS[depth])
    return Recipe(
        network=f"resnet{depth}_stride3x3",
        variant="published",
        source="facebookarchive/fb.resnet.torch, main.lua, opts.lua and datasets/imagenet.lua",
        expected=str(results[0]),
        results=results,
        cost="90 passes over 1.28 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        channels_last=True,
        augment=FB_RESNET_TORCH,
    )


RECIPES = (
    *map(_cifar, CIFAR_ERROR),
    *(
        he_recipe(
            f"resnet{depth}", results, *(("The printed error is for option A; the network has B.",) * (depth == 18))
        )
        for depth, results in IMAGENET.items()
    ),
    *(he_recipe(f"resnet{depth}_a", (ilsvrc("10 crops", *errors),)) for depth, errors in OPTION_A.items()),
    *map(_stride3x3, (50, 101, 152)),
)
