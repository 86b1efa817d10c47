"""How YOLO was trained."""

from dataclasses import replace

from convatlas.data.detection.augment import YOLO_AUGMENTATION
from convatlas.records import Preprocessing
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.schedules import Multistep, Passes

RATES = (*(1e-3 + 1.5e-3 * place for place in range(6)), *(1e-2,) * 75, *(1e-3,) * 30, *(1e-4,) * 30)
# -1 to 1: the crop layer of the cfg files, which have no `noadjust`, makes 2x - 1 of values in 0..1
INPUT = Preprocessing((448, 448), 3, "stretch", 448, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
VOC0712 = 16_551  # images of VOC 2007 and 2012 trainval
SCHEDULES = {
    "yolov1": (1e-3, Multistep((200, 400, 600, 20_000, 30_000), (2.5, 2, 2, 0.1, 0.1), of=40_000)),
    "yolov1_fast_tiny_2015cfg": (
        1e-4,
        Multistep((20, 40, 60, 80, 20_000, 30_000), (5, 5, 2, 2, 0.1, 0.1), of=40_000),
    ),
}
NOTES = {
    "yolov1": "The paper starts from a classifier of its first 20 convolutions (`pretraining_net`).",
    "yolov1_fast_tiny_2015cfg": "That this is the paper's Fast YOLO is not confirmed.",
}
CFG = {"yolov1": "yolo.cfg", "yolov1_fast_tiny_2015cfg": "yolo-tiny.cfg"}


def _published(network: str, result: str) -> Recipe:
    return Recipe(
        network=network,
        variant="published",
        source="Redmon et al. 2016, section 2.2; Darknet of November 2015 for what the paper does not tell",
        expected=f"{result} mAP on VOC 2007 test, from VOC 2007 and 2012",
        cost="about 135 passes over the training images; the classifier before it took a week",
        epochs=len(RATES),
        batch_size=64,
        optimizer=SGD(lr=RATES[0], momentum=0.9, weight_decay=5e-4),
        schedule=Passes(RATES),
        loss=OwnLosses(),
        augment=YOLO_AUGMENTATION,
        preprocessing=INPUT,
        groups=(ParameterGroup(of="bias", weight_decay=0.0),),
        notes=(
            NOTES[network],
            "The loss is half of equation 3: its gradient is Darknet's, for which the rates are printed.",
            "The paper raises the rate slowly over the first passes; six, in equal steps, is our reading.",
        ),
    )


def _release(published: Recipe) -> Recipe:
    """The cfg file of the release: 40,000 steps."""
    rate, schedule = SCHEDULES[published.network]
    recipe = replace(
        published,
        variant="release",
        source=f"cfg/{CFG[published.network]} of Darknet, November 2015",
        cost="40,000 steps of 64 images",
        optimizer=SGD(lr=rate, momentum=0.9, weight_decay=5e-4),
        schedule=schedule,
        notes=published.notes[:2],
    )
    return in_steps(recipe, 40_000, VOC0712)


PUBLISHED = (_published("yolov1", "63.4"), _published("yolov1_fast_tiny_2015cfg", "52.7"))
RECIPES = (*PUBLISHED, *map(_release, PUBLISHED))
