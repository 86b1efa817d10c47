"""How SSD was trained, and how the one on SqueezeNet is, without a GPU."""

from dataclasses import replace

from convatlas.data.detection.augment import SSD_AUGMENTATION, Mirror, Photometric, SampledCrop
from convatlas.training.mechanisms import ParameterGroup
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, AdamW, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES, CAFFE_INPUT
from convatlas.training.schedules import Cosine, StepDrops

STEPS, VOC0712 = 120_000, 16_551  # images of VOC 2007 and 2012 trainval
HELD = ("conv1.*", "fire2.*", "fire3.*")
SLOW = tuple(f"fire{place}.*" for place in range(4, 10))


def _published(network: str, side: int, result: str) -> Recipe:
    """ssd_pascal.py of the release: 80,000 steps at 1e-3, 20,000 at 1e-4, 20,000 at 1e-5."""
    recipe = Recipe(
        network=network,
        variant="published",
        source="Liu et al. 2016, sections 3.1 and 3.6; examples/ssd/ssd_pascal.py of the release",
        expected=f"{result} mAP on VOC 2007 test, from VOC 2007 and 2012 trainval",
        cost="120,000 steps of 32 images",
        epochs=1,
        batch_size=32,
        optimizer=SGD(lr=1e-3, momentum=0.9, weight_decay=5e-4),
        schedule=StepDrops(at=(80_000, 100_000), of=STEPS),
        loss=OwnLosses(),
        augment=SSD_AUGMENTATION,
        preprocessing=replace(CAFFE_INPUT, size=(side, side), resize="stretch", resize_to=side),
        groups=CAFFE_BIASES,
        notes=(
            "The paper starts from VGG-16 (vgg_d): start from its file.",
            "The release chooses among five ways of interpolation when it resizes; here it is bilinear.",
        ),
    )
    return in_steps(recipe, STEPS, VOC0712)


RECIPES = (
    _published("ssd300", 300, "77.2"),
    _published("ssd512", 512, "79.8"),
    Recipe(
        network="ssd300_squeezenet",
        variant="bccd",
        source="this project; AdamW: Loshchilov and Hutter 2019, crops and distortions: Liu et al. 2016",
        expected="mean AP50 of 0.905 on the test list of BCCD (platelets 0.900, red cells 0.839, white cells 0.976; "
        "VOC 2010's rules), after 40 passes over its training and validation lists",
        cost="36 minutes on two busy cores",
        epochs=40,
        batch_size=8,
        optimizer=AdamW(lr=1e-3, weight_decay=1e-4),
        schedule=Cosine(warm_up=0.05),
        loss=OwnLosses(),
        augment=(Photometric(), SampledCrop(), Mirror(vertical=0.5)),
        groups=(
            *(ParameterGroup(match=match, frozen=True) for match in HELD),
            *(ParameterGroup(match=match, lr_scale=0.2) for match in SLOW),
        ),
        notes=(
            "From ImageNet weights of squeezenet_v1_1, from a file; images are then read as these ask.",
            "Mirrored both ways, since cells have no up.",
        ),
    ),
)
