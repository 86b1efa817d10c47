"""How Faster R-CNN was trained on VOC, at once and in four steps, and how the one on SqueezeNet is, without a GPU."""

from dataclasses import replace

from convatlas.data.detection.augment import Mirror
from convatlas.records import Preprocessing
from convatlas.training.mechanisms import After, ParameterGroup
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import AdamW, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_MEAN, PIXELS
from convatlas.training.recipes.region_detectors import IMAGENET, VOC07, on_regions
from convatlas.training.schedules import Cosine, StepDrops

RPN, HEADS = ("rpn_*",), ("fc*", "cls_score.*", "bbox_pred.*")
DECAYING_BIASES = (ParameterGroup(of="bias", lr_scale=2.0),)


def _faster(network: str, result: str) -> Recipe:
    """`iter_size: 2`: two images a gradient, one after the other; biases decay, since the files give no factor."""
    source = "Ren et al. 2015, section 3.2; faster_rcnn_end2end/solver.prototxt of the release"
    recipe = on_regions(network, result, "a day on one GPU", source, steps=70_000, drop=50_000)
    return replace(recipe, accumulate=2, groups=DECAYING_BIASES)


def _alternating(end_to_end: Recipe) -> tuple[Recipe, ...]:
    """80,000 steps of one image for the proposals, 40,000 of two images for the regions, and both once more."""

    def stage(variant: str, steps: int, drop: int, batch: int, frozen: tuple[str, ...], after: After | None) -> Recipe:
        part = "proposals" if batch == 1 else "regions"
        recipe = replace(
            end_to_end,
            variant=variant,
            source="Ren et al. 2015, section 3.2; tools/train_faster_rcnn_alt_opt.py of the release",
            batch_size=batch,
            accumulate=1,
            schedule=StepDrops(at=(drop,), of=steps),
            loss=OwnLosses(part=part),
            groups=(*(ParameterGroup(match=match, frozen=True) for match in frozen), *DECAYING_BIASES),
            notes=(
                IMAGENET,
                "The release makes an image's proposals once, and mirrors them with it; here in each step.",
            ),
            after=after,
        )
        return in_steps(recipe, steps, VOC07)

    rpn, fast = (80_000, 60_000, 1), (40_000, 30_000, 2)
    first = After("alternating-rpn-1", weights=False, proposals=True)
    last = After("alternating-rpn-2", anew=("cls_score", "bbox_pred"))
    return (
        stage("published-alternating", *fast, ("conv*", *RPN), last),
        stage("alternating-rpn-1", *rpn, HEADS, None),
        stage("alternating-fast-1", *fast, RPN, first),
        stage("alternating-rpn-2", *rpn, ("conv*", *HEADS), After("alternating-fast-1")),
    )


FASTER = (_faster("faster_rcnn_vgg16", "69.9"), _faster("faster_rcnn_zf", "59.9"))

RECIPES = (
    *FASTER,
    *(stage for recipe in FASTER for stage in _alternating(recipe)),
    Recipe(
        network="faster_rcnn_squeezenet",
        variant="published",
        source="this project: no paper has the network",
        expected="not measured on VOC",
        cost="minutes for some hundred images on two cores",
        epochs=20,
        batch_size=2,
        optimizer=AdamW(lr=3e-4, weight_decay=1e-2),
        schedule=Cosine(warm_up=0.05),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=Preprocessing(
            (320, 480), resize="short_side", resize_to=320, mean=CAFFE_MEAN, std=PIXELS, channel_order="bgr"
        ),
        notes=("It starts from SqueezeNet 1.1 trained on ImageNet, with BGR input; start from its file.",),
    ),
)
