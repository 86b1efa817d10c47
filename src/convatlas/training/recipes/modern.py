"""One good default for today, whatever the network."""

from convatlas.data.augment import HorizontalFlip, PadCrop, RandomResizedCrop
from convatlas.registry import NetworkCard
from convatlas.structures import Preprocessing
from convatlas.training.losses import CrossEntropy
from convatlas.training.recipe import AdamW, Recipe
from convatlas.training.schedules import Cosine


def modern(network: NetworkCard, preprocessing: Preprocessing) -> Recipe:
    """AdamW, cosine, label smoothing, and the augmentation that suits the pictures; keeps the best epoch.

    Grey pictures (digits) are not mirrored; small colour pictures are shifted and mirrored; photographs are cropped at
    random scale and mirrored.
    """
    height, width = preprocessing.size
    if preprocessing.channels == 1:
        augment = ()
    elif max(height, width) <= 64:
        augment = (PadCrop(4), HorizontalFlip())
    else:
        augment = (RandomResizedCrop((height, width)), HorizontalFlip())
    return Recipe(
        network=network.name,
        variant="modern",
        source="this project; AdamW: Loshchilov and Hutter 2019, cosine: 2017, label smoothing: Szegedy et al. 2015",
        epochs=20,
        batch_size=64,
        optimizer=AdamW(lr=1e-3, weight_decay=0.05),
        schedule=Cosine(warm_up=0.05),
        loss=CrossEntropy(label_smoothing=0.1),
        augment=augment,
        keep="best",
    )
