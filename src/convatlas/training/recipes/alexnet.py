"""How AlexNet and its neighbours were trained."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.schedules import Drops

RECIPES = (
    Recipe(
        network="alexnet",
        variant="published",
        source="Krizhevsky et al. 2012, sections 4 and 5",
        expected="40.7% top-1 and 18.2% top-5 error on ILSVRC-2012 validation, 10 crops",
        cost="90 passes over 1.2 million images: five to six days on two GTX 580",
        epochs=90,
        batch_size=128,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4, form="krizhevsky"),
        schedule=Drops(at=(1 / 3, 2 / 3, 8 / 9)),
        augment=(RandomCrop((227, 227)), HorizontalFlip()),
        notes=(
            "The paper divides the rate by ten by hand, three times, whenever the validation error stops improving.",
            "The colour noise along the principal components of RGB (section 4.1) is not applied.",
        ),
    ),
    Recipe(
        network="caffenet",
        variant="published",
        source="Caffe, models/bvlc_reference_caffenet/solver.prototxt",
        expected="57.4% top-1 and 80.4% top-5 accuracy on ILSVRC-2012 validation, centre crop",
        cost="450,000 steps of 256 images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4),
        schedule=Drops(at=(2 / 9, 4 / 9, 6 / 9, 8 / 9)),
        augment=(RandomCrop((227, 227)), HorizontalFlip()),
    ),
    Recipe(
        network="alexnet_owt",
        variant="published",
        source="torchvision references/classification, the recipe of its AlexNet weights",
        expected="56.5% top-1 and 79.1% top-5 accuracy on ILSVRC-2012 validation, centre crop",
        cost="90 passes over 1.2 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
    ),
)
