"""One good default for segmenters, pose networks and detectors."""

from dataclasses import replace

from convatlas.data.augment import HorizontalFlip
from convatlas.data.detection.augment import Mirror, Photometric, SampledCrop
from convatlas.data.pose.transform import TurnAndScale
from convatlas.data.segmentation.augment import RandomOrientation, RandomScale
from convatlas.records import Preprocessing
from convatlas.registry import NetworkCard
from convatlas.training.dense_losses import HeatmapSquaredError, PixelCrossEntropy
from convatlas.training.finetuning import FineTune
from convatlas.training.mechanisms import ClipNorm
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import AdamW, Recipe
from convatlas.training.schedules import Cosine, Polynomial

IN_BRANCHES = {"decouplednet_voc"}  # which have losses of their own


def modern_segmentation(network: NetworkCard, preprocessing: Preprocessing) -> Recipe:
    """AdamW with a polynomial decay (0.9, as DeepLab has it), pixel cross-entropy; keeps the best epoch.

    Colour images are scaled by 0.75 to 1.5 and mirrored; grey ones, which mostly come from microscopes, are laid in
    one of eight ways.
    """
    colour = preprocessing.channels == 3
    return Recipe(
        network=network.name,
        variant="modern",
        source="this project; AdamW: Loshchilov and Hutter 2019, decay: Chen et al. 2016",
        epochs=40,
        batch_size=4,
        optimizer=AdamW(lr=5e-4, weight_decay=1e-2),
        schedule=Polynomial(power=0.9),
        loss=OwnLosses() if network.name in IN_BRANCHES else PixelCrossEntropy(),
        augment=(RandomScale((0.75, 1.5)), HorizontalFlip()) if colour else (RandomOrientation(),),
        channels_last=colour,
        keep="best",
    )


def modern_detection(network: NetworkCard, preprocessing: Preprocessing) -> Recipe:
    """AdamW, cosine, SSD's sampled crops and photometric distortions, mirrored; keeps the last weights."""
    return Recipe(
        network=network.name,
        variant="modern",
        source="this project; AdamW: Loshchilov and Hutter 2019, crops: Liu et al. 2016",
        epochs=60,
        batch_size=8,
        optimizer=AdamW(lr=2e-4, weight_decay=1e-2),
        schedule=Cosine(warm_up=0.05),
        loss=OwnLosses(),
        augment=(Photometric(), SampledCrop(), Mirror()),
        clip=ClipNorm(10.0),
        channels_last=True,
    )


def modern_pose(network: NetworkCard, preprocessing: Preprocessing) -> Recipe:
    """AdamW, cosine, the hourglass's rotations, scales and mirror images; every stack's maps count alike."""
    return Recipe(
        network=network.name,
        variant="modern",
        source="this project; augmentation and loss: Newell et al. 2016",
        epochs=60,
        batch_size=16,
        optimizer=AdamW(lr=5e-4, weight_decay=1e-2),
        schedule=Cosine(warm_up=0.05),
        loss=HeatmapSquaredError(),
        auxiliary_weight=1.0,
        augment=(TurnAndScale(), HorizontalFlip()),
        channels_last=True,
        keep="best",
    )


STEPS = 3_000  # of four images each, that a segmenter makes from trained weights
EPOCHS = (10, 100)


def transfer_segmentation(network: NetworkCard, preprocessing: Preprocessing, weights: str, samples: int) -> Recipe:
    """The modern recipe from trained weights, with as many passes as make `STEPS`, within `EPOCHS`."""
    recipe = _started(modern_segmentation(network, preprocessing), preprocessing, weights)
    return replace(recipe, epochs=min(max(STEPS * recipe.batch_size // samples, EPOCHS[0]), EPOCHS[1]))


def transfer_detection(network: NetworkCard, preprocessing: Preprocessing, weights: str, samples: int) -> Recipe:
    """The modern recipe from trained weights."""
    return _started(modern_detection(network, preprocessing), preprocessing, weights)


def transfer_pose(network: NetworkCard, preprocessing: Preprocessing, weights: str, samples: int) -> Recipe:
    """The modern recipe from trained weights."""
    return _started(modern_pose(network, preprocessing), preprocessing, weights)


def _started(recipe: Recipe, preprocessing: Preprocessing, weights: str) -> Recipe:
    """The new layers alone for a pass, then all, the first ones slowest."""
    start = FineTune(weights, head_epochs=1, last_rate=0.5, first_rate=0.1)
    return replace(recipe, variant="transfer", preprocessing=preprocessing, fine_tune=start)
