"""How R-CNN, SPPnet, Fast and Faster R-CNN were trained on VOC, and Faster R-CNN on SqueezeNet is, without a GPU."""

from convatlas.data.detection.augment import Mirror
from convatlas.records import Preprocessing
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, AdamW, Recipe, RegionSvms
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_MEAN
from convatlas.training.schedules import Cosine, Drops

PIXELS = (1 / 255, 1 / 255, 1 / 255)
# PIXEL_MEANS of the releases, there in BGR
MEAN = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
VOC_600 = Preprocessing(
    (600, 1000), resize="short_side", resize_to=600, mean=MEAN, std=PIXELS, channel_order="bgr"
)  # and at most 1000 px on the long side
VOC07 = 5_011  # images of VOC 2007 trainval
IMAGENET = "The paper starts from the classifier trained on ImageNet; start from its file."


def _regions(network: str, result: str, cost: str, source: str, *, steps: int, drop: float, batch: int) -> Recipe:
    return Recipe(
        network=network,
        variant="published",
        source=source,
        expected=f"{result}% mAP on VOC 2007 test, trained on VOC 2007",
        cost=cost,
        epochs=round(steps * batch / VOC07),
        batch_size=batch,
        optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=5e-4),
        schedule=Drops(at=(drop,)),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=VOC_600,
        groups=CAFFE_BIASES,
        notes=(IMAGENET, f"The {steps:,} steps are passes over the {VOC07:,} images of VOC 2007."),
    )


def _fast(network: str, result: str, cost: str) -> Recipe:
    source = "Girshick 2015, sections 2.3 and 4; solver.prototxt of the release"
    return _regions(network, result, cost, source, steps=40_000, drop=0.75, batch=2)


def _faster(network: str, result: str) -> Recipe:
    source = "Ren et al. 2015, section 3.2; faster_rcnn_end2end/solver.prototxt of the release"
    return _regions(network, result, "a day on one GPU", source, steps=70_000, drop=50 / 70, batch=1)


def _svms(network: str, variant: str, result: str, preprocessing: Preprocessing, *notes: str) -> Recipe:
    return Recipe(
        network=network,
        variant=variant,
        source="Girshick et al. 2014, section 2.3, appendices B and C; rcnn_train.m of the release",
        expected=result,
        cost="two passes over the images, of 2,000 regions each; a few seconds an image on a CPU",
        epochs=2,
        batch_size=1,
        optimizer=RegionSvms(),
        loss=OwnLosses(),
        preprocessing=preprocessing,
        notes=(
            *notes,
            "The first pass gathers the objects, the second mines the proposals; then the network has its SVMs. What "
            "is tested after the first pass is the network without them.",
        ),
    )


FINE_TUNED = "Starts from what `published` leaves; start from its weights."
WARPED = Preprocessing((500, 500), mean=CAFFE_MEAN, std=PIXELS, channel_order="bgr")

RECIPES = (
    Recipe(
        network="rcnn_alexnet_voc_finetune",
        variant="published",
        source="Girshick et al. 2014, section 2.3; finetuning/voc_2012_prototxt of the release",
        expected="54.2% mAP on VOC 2007 test with SVMs on fc7, 58.5% with box regression",
        cost="a day on one GPU",
        epochs=16,
        batch_size=2,
        optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=5e-4),
        schedule=Drops(at=(0.5,)),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=WARPED,
        groups=CAFFE_BIASES,
        notes=(
            IMAGENET,
            "The paper draws the 128 regions of a step from all images; here from two.",
            "The number of passes is this project's: the paper prints none.",
            "The SVMs and the box regression are fitted afterwards, by `published-svms`.",
        ),
    ),
    _svms(
        "rcnn_alexnet_voc_finetune",
        "published-svms",
        "54.2% mAP on VOC 2007 test, 58.5% with box regression",
        WARPED,
        FINE_TUNED,
    ),
    _svms(
        "rcnn_ilsvrc13",
        "published",
        "31.4% mAP on the test set of ILSVRC-2013, with box regression, which this network has not",
        WARPED,
        "Starts from `rcnn_alexnet_voc_finetune`, fine-tuned on the same classes; start from its weights.",
        "The SVMs become the last layer.",
    ),
    Recipe(
        network="sppnet_zf5",
        variant="published",
        source="He et al. 2014 (SPP-net), sections 4.1 and 4.2 (recalled: the ledger has no recipe)",
        expected="59.2% mAP on VOC 2007 test with SVMs on fc7 and box regression, 55.2% without",
        cost="two hours on one GPU",
        epochs=120,
        batch_size=2,
        optimizer=SGD(lr=1e-4, momentum=0.9, weight_decay=5e-4),
        schedule=Drops(at=(250 / 300,)),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=VOC_600,
        groups=CAFFE_BIASES,
        notes=(
            IMAGENET,
            f"The 300,000 steps are passes over the {VOC07:,} images of VOC 2007. Only the fully connected layers "
            "learn; the paper computes the maps once and keeps them, here they are computed in each step.",
            "Momentum and weight decay are R-CNN's.",
            "The SVMs and the box regression are fitted afterwards, by `published-svms`.",
        ),
    ),
    _svms(
        "sppnet_zf5",
        "published-svms",
        "59.2% mAP on VOC 2007 test, 55.2% without box regression",
        VOC_600,
        FINE_TUNED,
    ),
    _fast("fast_rcnn_vgg16", "66.9", "9.5 hours on one K40"),
    _fast("fast_rcnn_caffenet", "57.1", "1.2 hours on one K40"),
    _faster("faster_rcnn_vgg16", "69.9"),
    _faster("faster_rcnn_zf", "59.9"),
    Recipe(
        network="faster_rcnn_squeezenet",
        variant="published",
        source="this project: no paper has the network",
        expected="not measured on VOC",
        cost="minutes for some hundred images on two cores",
        epochs=20,
        batch_size=2,
        optimizer=AdamW(lr=3e-4, weight_decay=1e-2),
        schedule=Cosine(warm_up=0.05),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=Preprocessing(
            (320, 480), resize="short_side", resize_to=320, mean=CAFFE_MEAN, std=PIXELS, channel_order="bgr"
        ),
        notes=("It starts from SqueezeNet 1.1 trained on ImageNet, with BGR input; start from its file.",),
    ),
)
