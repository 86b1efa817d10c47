"""How the Network in Network models were trained."""

from convatlas.data.augment import HorizontalFlip, RandomCrop
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_MEAN, PAD_AND_MIRROR, cifar10, ilsvrc, pixels
from convatlas.training.schedules import Drops

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
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-5),
        schedule=Drops(at=(0.85, 0.95)),
        augment=PAD_AND_MIRROR,
        groups=(
            ParameterGroup("cccp6.weight", lr_scale=0.1),
            ParameterGroup("cccp6.bias", lr_scale=0.2),
            ParameterGroup(of="bias", lr_scale=2.0),
        ),
        notes=(
            "The paper lowers the rate by ten twice, by hand, and prints neither when nor how many passes it took.",
            "The paper's global contrast normalisation and ZCA whitening are not applied.",
        ),
    ),
    Recipe(
        network="nin_imagenet",
        variant="published",
        source="Caffe model zoo, Network in Network ImageNet model",
        expected="59.36% top-1 accuracy on ILSVRC-2012 validation, centre crop",
        results=(ilsvrc("one crop", "40.64"),),
        cost="90 passes over 1.2 million images",
        epochs=90,
        batch_size=64,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=5e-4),
        schedule=Drops(at=(4 / 9, 8 / 9)),
        augment=(RandomCrop((224, 224)), HorizontalFlip()),
        preprocessing=pixels(224, mean=CAFFE_MEAN),
        groups=CAFFE_BIASES,
        notes=(
            "The zoo's file gives the batch; the rate and its steps are those of Caffe's AlexNet, since its solver is "
            "not in our source.",
        ),
    ),
)
