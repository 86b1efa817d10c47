"""How R-CNN, SPPnet and Fast R-CNN were trained on VOC."""

from dataclasses import replace

from convatlas.data.detection.augment import Mirror
from convatlas.records import Preprocessing
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, Recipe, RegionSvms, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_INPUT, PIXELS
from convatlas.training.schedules import Multistep, StepDrops

# PIXEL_MEANS of the releases, there in BGR
MEAN = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
VOC_600 = Preprocessing(
    (600, 1000), resize="short_side", resize_to=600, mean=MEAN, std=PIXELS, channel_order="bgr"
)  # and at most 1000 px on the long side
VOC07 = 5_011  # images of VOC 2007 trainval
IMAGENET = "The paper starts from the classifier trained on ImageNet; start from its file."


def on_regions(network: str, result: str, cost: str, source: str, *, steps: int, drop: int) -> Recipe:
    """Two images a gradient."""
    recipe = Recipe(
        network=network,
        variant="published",
        source=source,
        expected=f"{result}% mAP on VOC 2007 test, trained on VOC 2007",
        cost=cost,
        epochs=1,
        batch_size=2,
        optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=5e-4),
        schedule=StepDrops(at=(drop,), of=steps),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=VOC_600,
        groups=CAFFE_BIASES,
        notes=(IMAGENET,),
    )
    return in_steps(recipe, steps, VOC07)


def _fast(network: str, result: str, cost: str) -> Recipe:
    source = "Girshick 2015, sections 2.3 and 4; solver.prototxt of the release"
    return on_regions(network, result, cost, source, steps=40_000, drop=30_000)


def _svms(
    network: str, variant: str, result: str, optimizer: RegionSvms, preprocessing: Preprocessing, *notes: str
) -> Recipe:
    return Recipe(
        network=network,
        variant=variant,
        source="Girshick et al. 2014, section 2.3, appendices B and C; rcnn_train.m of the release",
        expected=result,
        cost="two passes over the images, of 2,000 regions each; a few seconds an image on a CPU",
        epochs=2,
        batch_size=1,
        optimizer=optimizer,
        loss=OwnLosses(),
        preprocessing=preprocessing,
        notes=(
            *notes,
            "The first pass gathers the objects and measures up to 200 regions of each of 200 images, by whose mean "
            "norm features are scaled; the second mines the proposals, and then the network has its SVMs. What is "
            "tested after the first pass is the network without them.",
        ),
    )


FINE_TUNED = "Starts from what `published` leaves; start from its weights."
WARPED = replace(CAFFE_INPUT, size=(500, 500))  # images as they are; each region is warped to 227 px
NEW_CLASSIFIER = (
    ParameterGroup(match="fc8.*", of="bias", lr_scale=20.0, weight_decay=0.0),
    ParameterGroup(match="fc8.*", lr_scale=10.0),
)

RCNN = in_steps(
    Recipe(
        network="rcnn_alexnet_voc_finetune",
        variant="published",
        source="Girshick et al. 2014, section 2.3; finetuning/voc_2007_prototxt of the release",
        expected="54.2% mAP on VOC 2007 test with SVMs on fc7, 58.5% with box regression",
        cost="a day on one GPU",
        epochs=1,
        batch_size=2,
        optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=5e-4),
        schedule=StepDrops(at=(20_000, 40_000, 60_000), of=70_000),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=WARPED,
        groups=(*NEW_CLASSIFIER, *CAFFE_BIASES),
        notes=(
            IMAGENET,
            "The paper draws the 128 regions of a step from all images; here from two.",
            "The solver has 100,000 steps and falls every 20,000; what the release goes on with is its snapshot after "
            "70,000.",
            "The mean of ImageNet's colours is subtracted, in the release its mean image.",
            "The SVMs and the box regression are fitted afterwards, by `published-svms`.",
        ),
    ),
    70_000,
    VOC07,
)

SPPNET = in_steps(
    Recipe(
        network="sppnet_zf5",
        variant="published",
        source="He et al. 2014 (SPP-net), sections 4.1 and 4.2 (recalled: the ledger has no recipe)",
        expected="59.2% mAP on VOC 2007 test with SVMs on fc7 and box regression, 55.2% without",
        cost="two hours on one GPU",
        epochs=1,
        batch_size=2,
        optimizer=SGD(lr=1e-4, momentum=0.9, weight_decay=5e-4),
        schedule=StepDrops(at=(250_000,), of=300_000),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=VOC_600,
        groups=CAFFE_BIASES,
        notes=(
            IMAGENET,
            "Only the fully connected layers learn; the paper computes the maps once and keeps them, here they are "
            "computed in each step.",
            "Momentum and weight decay are R-CNN's.",
            "The SVMs and the box regression are fitted afterwards, by `published-svms`.",
        ),
    ),
    300_000,
    VOC07,
)

RECIPES = (
    RCNN,
    _svms(
        "rcnn_alexnet_voc_finetune",
        "published-svms",
        "54.2% mAP on VOC 2007 test, 58.5% with box regression",
        RegionSvms(),
        WARPED,
        FINE_TUNED,
    ),
    _svms(
        "rcnn_ilsvrc13",
        "published",
        "31.4% mAP on the test set of ILSVRC-2013, with box regression, which this network has not",
        RegionSvms(),
        WARPED,
        "Starts from `rcnn_alexnet_voc_finetune`, fine-tuned on the same classes; start from its weights.",
        "The SVMs become the last layer.",
    ),
    SPPNET,
    in_steps(
        replace(
            SPPNET,
            variant="release",
            source="model-defs/pascal_finetune_fc_spm_solver.prototxt and finetuning/spp_finetune_voc.m of the release",
            optimizer=SGD(lr=1e-3, momentum=0.9, weight_decay=5e-4),
            schedule=Multistep((30_000, 60_000), (0.1, 0.1), of=200_000),
            groups=(
                ParameterGroup(match="fc8.*", of="bias", lr_scale=2.0, weight_decay=0.0),
                ParameterGroup(of="bias", lr_scale=2.0),
            ),
            notes=(
                SPPNET.notes[0],
                SPPNET.notes[1],
                SPPNET.notes[3],
                "The release keeps the snapshot with the lowest error on windows of the test images, looked at every "
                "2,000 steps; here the last weights stay.",
            ),
        ),
        200_000,
        VOC07,
    ),
    _svms(
        "sppnet_zf5",
        "published-svms",
        "59.2% mAP on VOC 2007 test, 55.2% without box regression",
        RegionSvms(box_iou=0.5, ridge=4000.0, difficult=False),
        VOC_600,
        FINE_TUNED,
        "The box regression's constants are those of spp_exp_bbox_reg_train_and_test_voc.m.",
    ),
    _fast("fast_rcnn_vgg16", "66.9", "9.5 hours on one K40"),
    _fast("fast_rcnn_caffenet", "57.1", "1.2 hours on one K40"),
)
