"""How SegNet, SegNet-Basic and FCN-Basic were trained on CamVid, by the paper and by the authors' tutorial."""

from dataclasses import replace

from convatlas.records import Preprocessing
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, PIXELS

IMAGES = 367  # of CamVid's training part
# As the tutorial's DenseImageData feeds it: blue first, 0..255, nothing subtracted
RAW = Preprocessing(
    (360, 480), resize="short_side", resize_to=360, mean=(0.0, 0.0, 0.0), std=PIXELS, channel_order="bgr"
)

SEGNET = in_steps(
    Recipe(
        network="segnet_camvid",
        variant="published",
        source="Badrinarayanan et al. 2017, section 3; SegNet-Tutorial for the input",
        expected="CamVid test: mean IU 60.10, global accuracy 90.40, class accuracy 71.20, boundary F1 46.84",
        cost="more than 80,000 steps of 12 images",
        epochs=1,
        batch_size=12,
        optimizer=SGD(lr=0.1, momentum=0.9),
        loss=PixelCrossEntropy(),
        class_weights="median_frequency",
        preprocessing=RAW,
        groups=CAFFE_BIASES,
        notes=(
            "The encoder starts from VGG-16 trained on ImageNet.",
            "80,000 steps are those of the printed result; the paper trains until the loss falls no more.",
        ),
    ),
    80_000,
    IMAGES,
)

BASIC = in_steps(
    replace(
        SEGNET,
        network="segnet_basic",
        expected="CamVid test: mean IU 47.7",
        cost="not printed; until the global accuracy on the validation images rises no more",
        notes=("From scratch.", "The number of steps, 10,000, is that of the tutorial's segnet_basic_solver."),
    ),
    10_000,
    IMAGES,
)

RELEASE = in_steps(
    Recipe(
        network="segnet_camvid",
        variant="release",
        source="SegNet-Tutorial, segnet_solver.prototxt and segnet_train.prototxt",
        expected="none printed for this solver",
        cost="40,000 steps of 4 images",
        epochs=1,
        batch_size=4,
        optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=0.0005),
        loss=PixelCrossEntropy(),
        class_weights=(0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614),
        preprocessing=RAW,
        groups=(ParameterGroup(match="*_bn.bias", weight_decay=0.0), *CAFFE_BIASES),
        notes=("The class weights are the median frequencies of CamVid as the file has them.",),
    ),
    40_000,
    IMAGES,
)

RECIPES = (
    SEGNET,
    RELEASE,
    BASIC,
    in_steps(
        replace(
            RELEASE,
            network="segnet_basic",
            source="SegNet-Tutorial, segnet_basic_solver.prototxt and segnet_basic_train.prototxt",
            cost="10,000 steps of 4 images",
            optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=0.0005),
            groups=CAFFE_BIASES,  # the file says nothing of normalisation's parameters, which therefore decay
        ),
        10_000,
        IMAGES,
    ),
    replace(BASIC, network="fcn_basic_camvid", expected="CamVid test: mean IU 47.3"),
)
