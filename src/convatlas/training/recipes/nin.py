"""How the Network in Network models were trained."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, ILSVRC_IMAGES, PAD_AND_MIRROR, caffe_pixels, cifar10, ilsvrc
from convatlas.training.schedules import Drops, StepDrops

RECIPES = (
    Recipe(
        network="nin_cifar10",
        variant="published",
        source="Lin et al. 2013, section 4.1, and the authors' NIN/cifar-10_def",
        expected="8.81% test error on CIFAR-10 with augmentation (10.41% without)",
        results=(cifar10("8.81", "trained with translation and mirroring"), cifar10("10.41", "without augmentation")),
        cost="not printed; here 230 passes over 50,000 images",
        epochs=230,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, form="krizhevsky"),
        schedule=Drops(at=(0.85, 0.95)),
        augment=PAD_AND_MIRROR,
        groups=(
            ParameterGroup("cccp6.weight", lr_scale=0.1),
            ParameterGroup("cccp6.bias", lr_scale=0.2, weight_decay=0.0),
            ParameterGroup(of="bias", lr_scale=2.0, weight_decay=0.0),
        ),
        notes=(
            "cuda-convnet takes wc x epsW of a weight a step whatever the factor of 0.1 before the loss: 1e-5 of all "
            "layers but the last, which is a rate of 0.1 times a decay of 1e-4. Biases do not decay.",
            "The paper lowers the rate by ten twice, by hand, and prints neither when nor how many passes it took.",
            "The paper's global contrast normalisation and ZCA whitening are not applied.",
        ),
    ),
    in_steps(
        Recipe(
            network="nin_imagenet",
            variant="published",
            source="Caffe model zoo, Network in Network ImageNet model",
            expected="59.36% top-1 accuracy on ILSVRC-2012 validation, centre crop",
            results=(ilsvrc("one crop", "40.64"),),
            cost="450,000 steps of 64 images",
            epochs=23,
            batch_size=64,
            optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4),
            schedule=StepDrops(at=(200_000, 400_000), of=450_000),
            augment=(RandomCrop((224, 224)), HorizontalFlip()),
            preprocessing=caffe_pixels(224),
            groups=CAFFE_BIASES,
            notes=("The zoo's own solver could not be opened; its constants are those of a copy and of memory.",),
        ),
        450_000,
        ILSVRC_IMAGES,
    ),
)
