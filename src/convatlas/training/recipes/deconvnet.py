"""How DeconvNet was trained: first on crops around single objects, then on proposals with all that is in them."""

from dataclasses import replace

from convatlas.data.augment import HorizontalFlip
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_INPUT, VOC_MEAN
from convatlas.training.schedules import StepDrops

OBJECTS, PROPOSALS = 200_000, 2_700_000  # crops of the two stages

STAGE1 = in_steps(
    Recipe(
        network="deconvnet_voc",
        variant="published-stage1",
        source="Noh et al. 2015, sections 3.3 and 5.1; training/001_stage_1/solver.prototxt of the release",
        expected="none printed after the first stage",
        cost="20,000 steps of 64 crops; 6 days for both stages on a Titan X",
        epochs=1,
        batch_size=64,
        accumulate=8,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=0.0005),
        schedule=StepDrops(at=(9_000, 18_000), of=20_000),
        loss=PixelCrossEntropy(),
        augment=(HorizontalFlip(),),
        preprocessing=replace(CAFFE_INPUT, size=(224, 224), resize="stretch", resize_to=250, mean=VOC_MEAN),
        groups=CAFFE_BIASES,
        notes=(
            "The encoder starts from VGG-16 trained on ImageNet.",
            "Crops of one object each, enlarged by 1.2, all other classes being background: about 200,000. They are "
            "scaled to 250 px, and 224 px are cut out at random.",
        ),
    ),
    20_000,
    OBJECTS,
)

RECIPES = (
    in_steps(
        replace(
            STAGE1,
            variant="published",
            source="Noh et al. 2015, sections 3.3 and 5.1; training/002_stage_2/solver.prototxt of the release",
            expected="VOC 2012 test: mean IU 69.6, with a fully connected CRF 70.5, averaged with FCN-8s 72.5",
            cost="40,000 steps of 64 crops",
            schedule=StepDrops(at=(10_000, 20_000, 30_000), of=40_000),
            notes=(
                "Starts from the weights of published-stage1.",
                "Crops of proposals that overlap an object by half, all classes marked: about 2,700,000. An image's "
                "answer joins those of its 50 best proposals.",
            ),
        ),
        40_000,
        PROPOSALS,
    ),
    STAGE1,
)
