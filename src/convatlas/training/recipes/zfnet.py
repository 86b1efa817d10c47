"""How ZFNet was trained."""

from convatlas.data.augment import CornerCrop, HorizontalFlip
from convatlas.evaluation import TenCrops
from convatlas.training.mechanisms import FilterNorm
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import ilsvrc, pixels
from convatlas.training.schedules import Plateau

RECIPES = (
    Recipe(
        network="zfnet",
        variant="published",
        source="Zeiler and Fergus 2013, section 3",
        expected="38.4% top-1 and 16.5% top-5 error on ILSVRC-2012 validation, 10 crops",
        results=(ilsvrc("10 crops", "38.4", "16.5"),),
        cost="70 passes over 1.3 million images: twelve days on one GTX 580",
        epochs=70,
        batch_size=128,
        optimizer=SGD(lr=0.01, momentum=0.9),
        schedule=Plateau(patience=5, divisor=10, drops=3),
        augment=(CornerCrop((224, 224), within=(256, 256)), HorizontalFlip()),
        preprocessing=pixels(224),
        test_time=TenCrops(),
        filter_norm=FilterNorm(rms=0.1),
        notes=(
            "The paper lowers the rate by hand whenever the validation error stops improving, and prints neither the "
            "factor nor how often; here by ten after five passes without a new least test error, three times.",
            "Each filter of a convolution whose root mean square exceeds 0.1 is scaled back to it after each step.",
            "The paper prints no weight decay.",
        ),
    ),
)
