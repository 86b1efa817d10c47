"""How SegNet, SegNet-Basic and FCN-Basic were trained on CamVid, by the paper and by the authors' tutorial."""

from dataclasses import replace

from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import CAFFE_BIASES

IMAGES = 367  # of CamVid's training part

SEGNET = Recipe(
    network="segnet_camvid",
    variant="published",
    source="Badrinarayanan et al. 2017, section 3",
    expected="CamVid test: mean IU 60.10, global accuracy 90.40, class accuracy 71.20, boundary F1 46.84",
    cost="more than 80,000 steps of 12 images",
    epochs=80_000 * 12 // IMAGES,
    batch_size=12,
    optimizer=SGD(lr=0.1, momentum=0.9),
    loss=PixelCrossEntropy(),
    class_weights="median_frequency",
    groups=CAFFE_BIASES,
    notes=(
        "The encoder starts from VGG-16 trained on ImageNet.",
        "80,000 steps are those of the printed result; the paper trains until the loss falls no more.",
    ),
)

BASIC = replace(
    SEGNET,
    network="segnet_basic",
    expected="CamVid test: mean IU 47.7",
    cost="not printed; until the global accuracy on the validation images rises no more",
    epochs=40_000 * 12 // IMAGES,
    notes=("From scratch.", "The number of steps, 40,000, is that of the tutorial's solver."),
)

RELEASE = Recipe(
    network="segnet_camvid",
    variant="release",
    source="SegNet-Tutorial, segnet_solver.prototxt and segnet_train.prototxt",
    expected="none printed for this solver",
    cost="40,000 steps of 4 images",
    epochs=40_000 * 4 // IMAGES,
    batch_size=4,
    optimizer=SGD(lr=0.001, momentum=0.9, weight_decay=0.0005),
    loss=PixelCrossEntropy(),
    class_weights=(0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614),
    groups=CAFFE_BIASES,
    notes=("The class weights are the median frequencies of CamVid as the file has them.",),
)

RECIPES = (
    SEGNET,
    RELEASE,
    BASIC,
    replace(RELEASE, network="segnet_basic", source="SegNet-Tutorial, segnet_basic_{solver,train}.prototxt"),
    replace(BASIC, network="fcn_basic_camvid", expected="CamVid test: mean IU 47.3"),
)
