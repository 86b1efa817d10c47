"""How the highway networks were trained."""

from convatlas.data.augment import HorizontalFlip, PadCrop
from convatlas.records import PublishedResult
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, CIFAR10_MEAN, cifar10
from convatlas.training.schedules import StepDrops


def _recipe(network: str, accuracy: str, result: PublishedResult, *notes: str) -> Recipe:
    recipe = Recipe(
        network=network,
        variant="published",
        source="flukeskywalker/highway-networks, examples/highways/cifar10-19layers/cifar10_solver.prototxt",
        expected=f"{accuracy} test accuracy on CIFAR-10",
        results=(result,),
        cost="200,000 steps of 100 images",
        epochs=400,
        batch_size=100,
        optimizer=SGD(lr=0.025, momentum=0.9, weight_decay=1e-3, nesterov=True),
        schedule=StepDrops(at=(100_000, 150_000, 175_000), of=200_000),
        augment=(PadCrop(8, fill=CIFAR10_MEAN), HorizontalFlip()),
        groups=(*CAFFE_BIASES, ParameterGroup("ip2.weight", weight_decay=1e-2)),
        notes=(
            "The release normalises the contrast of each image; here channels have mean 0 and deviation 1.",
            *notes,
        ),
    )
    return in_steps(recipe, 200_000, 50_000)


RECIPES = (
    _recipe("highway19_cifar10", "92.46% (92.28% +- 0.16)", cifar10("7.54", "best run")),
    _recipe(
        "highway32_cifar10",
        "90.34%",
        cifar10("9.66"),
        "The solver of the thin network is not published; this is the 19-layer network's.",
        "The widths of the thin network are not published; ours give its 1.25 M parameters.",
    ),
)
