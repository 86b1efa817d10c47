"""How ZFNet was trained."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

RECIPES = (
    Recipe(
        network="zfnet",
        variant="published",
        source="Zeiler and Fergus 2013, section 3",
        expected="38.4% top-1 and 16.5% top-5 error on ILSVRC-2012 validation, 10 crops",
        cost="70 passes over 1.3 million images: twelve days on one GTX 580",
        epochs=70,
        batch_size=128,
        optimizer=SGD(lr=0.01, momentum=0.9),
        schedule=Drops(at=(3 / 7, 5 / 7, 6 / 7)),
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
        notes=(
            "The paper lowers the rate by hand whenever the validation error stops improving; here at fixed points.",
            "The paper takes its crops from the corners and the centre of 256 x 256 pixels; here from anywhere.",
            "The paper scales each filter of a root mean square above 0.1 down to it while it trains; not done here.",
            "The paper prints no weight decay.",
        ),
    ),
)
