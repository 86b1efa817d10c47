"""How DeepLab-LargeFOV and CRF-RNN were trained."""

from dataclasses import replace

from convatlas.data.augment import HorizontalFlip
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, VOC_MEAN
from convatlas.training.recipes.fcn import VOC_IMAGES, WINDOW
from convatlas.training.schedules import StepDrops

# The classifier learns ten times as fast as what comes from VGG-16, its biases twice as fast as that.
NEW_CLASSIFIER = (
    ParameterGroup(match="fc8.*", of="bias", lr_scale=20.0, weight_decay=0.0),
    ParameterGroup(match="fc8.*", lr_scale=10.0),
)

# What mean field learns moves though the loss is summed over pixels: lr_mult 10000, 10000 and 1000.
CRF = (
    ParameterGroup(match="crf.*_weights", lr_scale=10_000.0),
    ParameterGroup(match="crf.compatibility", lr_scale=1_000.0),
)

DEEPLAB = in_steps(
    Recipe(
        network="deeplab_largefov_voc",
        variant="published",
        source="Chen et al. 2014, section 4.1",
        expected="62.25 mean IoU on VOC 2012 validation, 67.64 with the CRF",
        cost="6,000 steps of 20 images",
        epochs=1,
        batch_size=20,
        optimizer=SGD(lr=1e-3, momentum=0.9, weight_decay=5e-4),
        schedule=StepDrops(at=(2_000, 4_000), of=6_000),
        loss=PixelCrossEntropy(),
        augment=(HorizontalFlip(),),
        preprocessing=replace(VOC_IMAGES, size=(321, 321), mean=VOC_MEAN),
        groups=(*NEW_CLASSIFIER, *CAFFE_BIASES),
        notes=(
            "The paper starts from VGG-16; start from its file (vgg_d).",
            "10,582 images of VOC 2012 and SBD, in windows of 321 x 321.",
            "The release's loss is on masks shrunk by 8; here it is on all pixels.",
        ),
    ),
    6_000,
    10_582,
)

RECIPES = (
    DEEPLAB,
    Recipe(
        network="crf_rnn_fcn8s_voc",
        variant="published",
        source="Zheng et al. 2015, section 7; TVG_CRFRNN_solver_example.prototxt of the release",
        expected="72.0 mean IoU on the VOC 2012 test set",
        cost="not printed",
        epochs=10,
        batch_size=1,
        optimizer=SGD(lr=1e-13, momentum=0.99, weight_decay=0.0016),
        loss=PixelCrossEntropy(normalise=False),
        preprocessing=VOC_IMAGES,
        groups=(*CRF, *CAFFE_BIASES),
        notes=(
            "The paper starts from FCN-8s; start from its file or run (fcn8s_vgg16_voc).",
            "The number of passes is ours.",
            WINDOW,
        ),
    ),
)
