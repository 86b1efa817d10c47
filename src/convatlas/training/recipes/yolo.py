"""How YOLO was trained."""

from convatlas.data.detection.augment import YOLO_AUGMENTATION
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, Recipe
from convatlas.training.recipes.common import pixels
from convatlas.training.schedules import Passes

# Half the printed rates: Darknet's gradient is that of half the loss of equation 3, which is ours.
RATES = (*(0.5e-3 + 0.75e-3 * place for place in range(6)), *(5e-3,) * 75, *(5e-4,) * 30, *(5e-5,) * 30)


def _published(network: str, result: str, note: str) -> Recipe:
    return Recipe(
        network=network,
        variant="published",
        source="Redmon et al. 2016, section 2.2",
        expected=f"{result} mAP on VOC 2007 test, from VOC 2007 and 2012",
        cost="about 135 passes over the training images; the classifier before it took a week",
        epochs=len(RATES),
        batch_size=64,
        optimizer=SGD(lr=5e-3, momentum=0.9, weight_decay=5e-4),
        schedule=Passes(RATES),
        loss=OwnLosses(),
        augment=YOLO_AUGMENTATION,
        preprocessing=pixels(448, mean=(0.0, 0.0, 0.0), resize="stretch", resize_to=448),
        notes=(
            note,
            "Rates are half the printed ones, since Darknet's gradient is that of half the loss.",
            "The paper raises the rate slowly over the first passes; six, in equal steps, is our reading.",
        ),
    )


RECIPES = (
    _published(
        "yolov1", "63.4", "The paper starts from a classifier of its first 20 convolutions (`pretraining_net`)."
    ),
    _published("yolov1_fast_tiny_2015cfg", "52.7", "That this is the paper's Fast YOLO is not confirmed."),
)
