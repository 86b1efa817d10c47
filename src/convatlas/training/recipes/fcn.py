"""How the fully convolutional networks were trained. Those on SqueezeNet have the modern recipe alone."""

from convatlas.records import Preprocessing
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, PIXELS

# Whole images of VOC, of at most 500 px; 0 to 255 less the mean of ImageNet, blue first.
VOC_IMAGES = Preprocessing(
    (500, 500), mean=(122.67892 / 255, 116.66877 / 255, 104.00699 / 255), std=PIXELS, channel_order="bgr"
)
# net.py of FCN-AlexNet gives no factors to the layers of the classifier
SCORE_BIASES = (ParameterGroup(match="score_fr.*", of="bias", lr_scale=2.0, weight_decay=0.0),)
WINDOW = "Whole images of at most 500 px, each in a window of 500 x 500 whose rest is void; the authors have no window."
TRAINING = "8,498 images of VOC 2011 and SBD, whose validation images are left out."
STEPS, IMAGES = 100_000, 8_498


def _heavy(network: str, lr: float, start: str, result: str, *, steps: int = STEPS) -> Recipe:
    """Heavy learning: one image a step, the losses of its pixels summed, a momentum of 0.99."""
    recipe = Recipe(
        network=network,
        variant="published",
        source="Shelhamer, Long, Darrell 2017, section 4.3; solver.prototxt of the release",
        expected=f"{result} mean IU on VOC 2011 validation",
        cost="three days on one GPU for FCN-32s, about a day for each stage after it",
        epochs=1,
        batch_size=1,
        optimizer=SGD(lr=lr, momentum=0.99, weight_decay=5e-4),
        loss=PixelCrossEntropy(normalise=False),
        preprocessing=VOC_IMAGES,
        groups=CAFFE_BIASES,
        notes=(f"The paper starts from {start}; start from its file or run.", WINDOW, TRAINING),
    )
    return in_steps(recipe, steps, IMAGES)


def _light(network: str, lr: float, source: str, result: str, *, steps: int) -> Recipe:
    """Batches of 20 images, the mean over their pixels, a momentum of 0.9; computed one by one."""
    recipe = Recipe(
        network=network,
        variant="published",
        source=source,
        expected=f"{result} mean IU on VOC 2011 validation",
        cost="100,000 steps of 20 images for FCN-AlexNet",
        epochs=1,
        batch_size=20,
        accumulate=20,
        optimizer=SGD(lr=lr, momentum=0.9, weight_decay=5e-4),
        loss=PixelCrossEntropy(),
        preprocessing=VOC_IMAGES,
        groups=CAFFE_BIASES if network == "googlenet_fcn" else SCORE_BIASES,
        notes=("The paper starts from the trained classifier; start from its file.", WINDOW, TRAINING),
    )
    return in_steps(recipe, steps, IMAGES)


RECIPES = (
    _heavy("fcn32s_vgg16_voc", 1e-10, "VGG-16 (vgg_d)", "63.6"),
    _heavy("fcn16s_vgg16_voc", 1e-12, "FCN-32s (fcn32s_vgg16_voc)", "65.0"),
    _heavy("fcn8s_vgg16_voc", 1e-14, "FCN-16s (fcn16s_vgg16_voc)", "65.5"),
    _heavy("fcn8s_vgg16_voc_at_once", 1e-10, "VGG-16 (vgg_d)", "65.4", steps=300_000),
    _light("fcn_alexnet_voc", 1e-4, "solver.prototxt of the release", "48.0", steps=STEPS),
    _light("googlenet_fcn", 5e-5, "Long, Shelhamer, Darrell 2015, section 4.3", "42.5", steps=175 * IMAGES // 20),
)
