"""How A2-Net was trained, as far as our sources say."""

from convatlas.data.augment import HorizontalFlip, RandomResizedCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import ilsvrc
from convatlas.training.schedules import Drops

RECIPES = (
    Recipe(
        network="a2net50_reading",
        variant="published",
        source="He et al. 2015, section 3.4, for the ResNet-50 on which Chen et al. 2018 build",
        expected="77.0% top-1 and 93.5% top-5 accuracy on ILSVRC-2012 validation, centre crop",
        results=(ilsvrc("one crop", "23.0", "6.5"),),
        cost="90 passes over 1.28 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
        notes=("The settings stand in for the paper's, which are not in our sources.",),
    ),
)
