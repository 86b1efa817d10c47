"""How DecoupledNet was trained: which classes are there first, then where each of them is."""

from dataclasses import replace

from convatlas.data.augment import HorizontalFlip
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_INPUT, VOC_MEAN
from convatlas.training.schedules import Drops, StepDrops

VOC12 = 10_582  # images with masks of VOC 2012 and SBD

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
    preprocessing=replace(CAFFE_INPUT, size=(320, 320), resize="stretch", resize_to=350, mean=VOC_MEAN),
    groups=(ParameterGroup(match="segmentation.*", frozen=True), *CAFFE_BIASES),
    notes=(
        "The branch starts from VGG-16 trained on ImageNet.",
        "It needs to be told only which classes an image has: here the masks tell it.",
    ),
)

RECIPES = (
    in_steps(
        replace(
            CLASSES,
            variant="published",
            source="Hong et al. 2015, section 4.1; training/002_train_seg_Full_anno/solver.prototxt of the release",
            expected="VOC 2012 test: mean IU 66.6 with all masks (recalled: the ledger has no result)",
            cost="17,500 steps of 64 images: 16 passes forward and back of four",
            batch_size=64,
            accumulate=16,
            optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=0.0005),
            schedule=StepDrops(at=(10_000,), of=17_500),
            groups=(ParameterGroup(match="classification.*", frozen=True), *CAFFE_BIASES),
            notes=(
                "Starts from the weights of published-stage1, whose branch stays as it is.",
                "The release makes more images of few masks by putting objects into crops of all sizes; here each "
                "image teaches one of its classes.",
            ),
        ),
        17_500,
        VOC12,
    ),
    CLASSES,
)
