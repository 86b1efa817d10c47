"""How DecoupledNet was trained: which classes are there first, then where each of them is."""

from dataclasses import replace

from convatlas.data.augment import HorizontalFlip
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import CAFFE_BIASES
from convatlas.training.schedules import Drops

CLASSES = Recipe(
    network="decouplednet_voc",
    variant="published-stage1",
    source="Hong et al. 2015, sections 3.2 and 4.1; the passes are this project's: the paper prints none",
    expected="none printed after the first stage",
    cost="not printed",
    epochs=10,
    batch_size=16,
    accumulate=8,
    optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=0.0005),
    schedule=Drops(at=(0.8,)),
    loss=OwnLosses(),
    augment=(HorizontalFlip(),),
    groups=(ParameterGroup(match="segmentation.*", frozen=True), *CAFFE_BIASES),
    notes=(
        "The branch starts from VGG-16 trained on ImageNet.",
        "It needs to be told only which classes an image has: here the masks tell it.",
    ),
)

RECIPES = (
    replace(
        CLASSES,
        variant="published",
        source="Hong et al. 2015, section 4.1; solver.prototxt of the release (Full_anno)",
        expected="VOC 2012 test: mean IU 66.6 with all masks (recalled: the ledger has no result)",
        cost="17,500 steps of 16 passes forward and back",
        epochs=28,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=0.0005),
        schedule=Drops(at=(10_000 / 17_500,)),
        groups=(ParameterGroup(match="classification.*", frozen=True), *CAFFE_BIASES),
        notes=(
            "Starts from the weights of published-stage1, whose branch stays as it is.",
            "17,500 steps of 16 are 28 passes over the 10,582 images with masks. The release makes more images of "
            "few masks by putting objects into crops of all sizes; here each image teaches one of its classes.",
        ),
    ),
    CLASSES,
)
