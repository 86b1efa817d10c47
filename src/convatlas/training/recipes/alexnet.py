"""How AlexNet and its neighbours were trained."""

from convatlas.data.augment import HorizontalFlip, PCANoise, RandomCrop, RandomResizedCrop
from convatlas.evaluation import TenCrops
from convatlas.records import PublishedResult
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, ILSVRC_IMAGES, caffe_pixels, ilsvrc, pixels
from convatlas.training.schedules import Drops, Plateau, StepDrops

RECIPES = (
    Recipe(
        network="alexnet",
        variant="published",
        source="Krizhevsky et al. 2012, sections 4 and 5",
        expected="40.7% top-1 and 18.2% top-5 error on ILSVRC-2012 validation, 10 crops",
        results=(
            ilsvrc("10 crops", "40.7", "18.2"),
            ilsvrc("5 networks, 10 crops", "38.1", "16.4"),
            PublishedResult("ILSVRC-2010 test", "10 crops", "37.5", "17.0"),
            PublishedResult("ILSVRC-2010 test", "one crop", "39.0", "18.3"),
        ),
        cost="90 passes over 1.2 million images: five to six days on two GTX 580",
        epochs=90,
        batch_size=128,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4, form="krizhevsky"),
        schedule=Plateau(patience=5, divisor=10, drops=3),
        augment=(RandomCrop((227, 227), within=(256, 256)), HorizontalFlip(), PCANoise()),
        preprocessing=pixels(227),
        test_time=TenCrops(),
        notes=(
            "The paper divides the rate by ten by hand, three times, whenever the validation error stops improving; "
            "here after five passes without a new least test error.",
            "Initialisation is the network's: weights from N(0, 0.01), biases 1 in conv2, conv4, conv5, fc6 and fc7.",
            "Crops of 227 pixels where the text says 224, as the network's shapes need.",
        ),
    ),
    in_steps(
        Recipe(
            network="caffenet",
            variant="published",
            source="Caffe, models/bvlc_reference_caffenet/solver.prototxt and train_val.prototxt",
            expected="57.4% top-1 and 80.4% top-5 accuracy on ILSVRC-2012 validation, centre crop",
            results=(ilsvrc("one crop", "42.6", "19.6"),),
            cost="450,000 steps of 256 images",
            epochs=90,
            batch_size=256,
            optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4),
            schedule=StepDrops(at=(100_000, 200_000, 300_000, 400_000), of=450_000),
            augment=(RandomCrop((227, 227)), HorizontalFlip()),
            preprocessing=caffe_pixels(227),
            groups=CAFFE_BIASES,
            notes=(
                "Images are stretched to 256 x 256 pixels, as Caffe's example makes its database.",
                "The released weights, and so the result, are those after 310,000 steps.",
            ),
        ),
        450_000,
        ILSVRC_IMAGES,
    ),
    Recipe(
        network="alexnet_owt",
        variant="published",
        source="torchvision references/classification, the recipe of its AlexNet weights",
        expected="56.522% top-1 and 79.066% top-5 accuracy on ILSVRC-2012 validation, centre crop",
        results=(ilsvrc("one crop", "43.478", "20.934"),),
        cost="90 passes over 1.2 million images",
        epochs=90,
        batch_size=256,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-4),
        schedule=Drops(at=(1 / 3, 2 / 3)),
        augment=(RandomResizedCrop((224, 224)), HorizontalFlip()),
    ),
)
