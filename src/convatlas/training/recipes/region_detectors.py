"""How R-CNN, Fast and Faster R-CNN were trained on VOC, and how Faster R-CNN on SqueezeNet is, without a GPU."""

from convatlas.data.detection.augment import Mirror
from convatlas.structures import Preprocessing
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, AdamW, Recipe
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_MEAN
from convatlas.training.schedules import Cosine, Drops

PIXELS = (1 / 255, 1 / 255, 1 / 255)
# PIXEL_MEANS of the releases, there in BGR
MEAN = (122.7717 / 255, 115.9465 / 255, 102.9801 / 255)
VOC_600 = Preprocessing(
    (600, 1000), resize="short_side", resize_to=600, mean=MEAN, std=PIXELS, channel_order="bgr"
)  # and at most 1000 px on the long side
VOC07 = 5_011  # pictures of VOC 2007 trainval
IMAGENET = "The paper starts from the classifier trained on ImageNet; name its file with --weights."


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
        notes=(IMAGENET, f"The {steps:,} steps are passes over the {VOC07:,} pictures of VOC 2007."),
    )


def _fast(network: str, result: str, cost: str) -> Recipe:
    source = "Girshick 2015, sections 2.3 and 4; solver.prototxt of the release"
    return _regions(network, result, cost, source, steps=40_000, drop=0.75, batch=2)


def _faster(network: str, result: str) -> Recipe:
    source = "Ren et al. 2015, section 3.2; faster_rcnn_end2end/solver.prototxt of the release"
    return _regions(network, result, "a day on one GPU", source, steps=70_000, drop=50 / 70, batch=1)


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
        preprocessing=Preprocessing((500, 500), mean=CAFFE_MEAN, std=PIXELS, channel_order="bgr"),
        groups=CAFFE_BIASES,
        notes=(
            IMAGENET,
            "The paper draws the 128 regions of a step from all pictures; here from two.",
            "The number of passes is this project's: the paper prints none.",
            "The SVMs and the box regression are fitted afterwards: convatlas.training.rcnn.",
        ),
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
        cost="minutes for some hundred pictures on two cores",
        epochs=20,
        batch_size=2,
        optimizer=AdamW(lr=3e-4, weight_decay=1e-2),
        schedule=Cosine(warm_up=0.05),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=Preprocessing(
            (320, 480), resize="short_side", resize_to=320, mean=CAFFE_MEAN, std=PIXELS, channel_order="bgr"
        ),
        notes=("It starts from SqueezeNet 1.1 trained on ImageNet, with BGR input; name its file with --weights.",),
    ),
)
