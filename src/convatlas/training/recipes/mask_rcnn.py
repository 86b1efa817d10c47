"""How Mask R-CNN was trained on COCO."""

from dataclasses import replace

from convatlas.data.detection.augment import Mirror
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import SGD, Recipe, in_steps
from convatlas.training.recipes.common import CAFFE_BIASES
from convatlas.training.recipes.region_detectors import VOC_600
from convatlas.training.schedules import StepDrops

STEPS, SHORT_STEPS, BATCH, IMAGES = 160_000, 90_000, 16, 118_287  # trainval35k, later train2017

PUBLISHED = in_steps(
    Recipe(
        network="mask_rcnn_resnet50_fpn",
        variant="published",
        source="He et al. 2017, section 3.1; e2e_mask_rcnn_R-50-FPN of the release",
        expected="33.6 mask AP on COCO minival",
        cost="160,000 steps of 16 images on 8 GPUs",
        epochs=1,
        batch_size=BATCH,
        optimizer=SGD(lr=0.02, momentum=0.9, weight_decay=1e-4),
        schedule=StepDrops(at=(120_000,), of=STEPS),
        loss=OwnLosses(),
        augment=(Mirror(),),
        preprocessing=replace(VOC_600, size=(800, 1333), resize_to=800),
        groups=CAFFE_BIASES,
        notes=(
            "The paper starts from ResNet-50 trained on ImageNet (resnet50): start from its file.",
            "The release's rate grows over its first 500 steps; here it does not.",
        ),
    ),
    STEPS,
    IMAGES,
)

RECIPES = (
    PUBLISHED,
    in_steps(
        replace(
            PUBLISHED,
            variant="release",
            source="configs/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml of Detectron",
            expected="33.9 mask AP on COCO minival (MODEL_ZOO.md of the release)",
            cost=f"{SHORT_STEPS:,} steps of 16 images on 8 GPUs",
            schedule=StepDrops(at=(60_000, 80_000), of=SHORT_STEPS),
        ),
        SHORT_STEPS,
        IMAGES,
    ),
)
