"""How the ResNeXts were trained."""

from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import FB_RESNET_TORCH, PAD_AND_MIRROR, cifar10, ilsvrc
from convatlas.training.schedules import Drops

IMAGENET_ERROR = {"50_32x4d": ("22.2", None), "101_32x4d": ("21.2", None), "101_64x4d": ("20.4", "5.3")}
CIFAR_ERROR = {"8x64d": "3.65", "16x64d": "3.58"}


def _imagenet(template: str) -> Recipe:
    result = ilsvrc("one crop", *IMAGENET_ERROR[template])
    return Recipe(
        network=f"resnext{template}",
        variant="published",
        source="Xie et al. 2016, section 4; facebookresearch/ResNeXt, README and train.lua",
        expected=str(result),
        results=(result,),
        cost="100 passes over 1.2 million images on 8 GPUs",
        epochs=100,
        batch_size=256,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
        schedule=Drops(at=(0.3, 0.6, 0.9)),
        augment=FB_RESNET_TORCH,
    )


def _cifar(template: str) -> Recipe:
    result = cifar10(CIFAR_ERROR[template], "average of 10 runs")
    return Recipe(
        network=f"cifar_resnext29_{template}",
        variant="published",
        source="Xie et al. 2016, section 5.2; facebookresearch/ResNeXt, README and train.lua",
        expected=str(result),
        results=(result,),
        cost="300 passes over 50,000 images on 8 GPUs",
        epochs=300,
        batch_size=128,
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        schedule=Drops(at=(147 / 300, 222 / 300)),  # "epoch / 300 > 0.49" and "> 0.74", counted from 1
        augment=PAD_AND_MIRROR,
        notes=("The paper trains pre-activation blocks in batches of 256; this is the release's better recipe.",),
    )


RECIPES = (*map(_imagenet, IMAGENET_ERROR), *map(_cifar, CIFAR_ERROR))
