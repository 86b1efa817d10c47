"""How DeconvNet was trained: first on crops around single objects, then on proposals with all that is in them."""

from dataclasses import replace

from convatlas.data.augment import HorizontalFlip
from convatlas.training.dense_losses import PixelCrossEntropy
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import CAFFE_BIASES
from convatlas.training.schedules import Drops

STAGE1 = Recipe(
    network="deconvnet_voc",
    variant="published-stage1",
    source="Noh et al. 2015, sections 3.3 and 5.1; the authors' solvers",
    expected="none printed after the first stage",
    cost="20,000 steps of 64 crops; 6 days for both stages on a Titan X",
    epochs=6,
    batch_size=64,
    accumulate=8,
    optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=0.0005),
    schedule=Drops(at=(9 / 20, 18 / 20)),
    loss=PixelCrossEntropy(),
    augment=(HorizontalFlip(),),
    groups=CAFFE_BIASES,
    notes=(
        "The encoder starts from VGG-16 trained on ImageNet.",
        "Crops of one object each, enlarged by 1.2, all other classes being background: about 200,000, of which 20,000 "
        "steps make six passes. Crops of 224 px are cut from 250 px.",
    ),
)

RECIPES = (
    replace(
        STAGE1,
        variant="published",
        expected="VOC 2012 test: mean IU 69.6, with a fully connected CRF 70.5, averaged with FCN-8s 72.5",
        cost="40,000 steps of 64 crops",
        epochs=1,
        schedule=Drops(at=(1 / 4, 2 / 4, 3 / 4)),
        notes=(
            "Starts from the weights of published-stage1.",
            "Crops of proposals that overlap an object by half, all classes marked: about 2,700,000, of which 40,000 "
            "steps make one pass. An image's answer joins those of its 50 best proposals.",
        ),
    ),
    STAGE1,
)
