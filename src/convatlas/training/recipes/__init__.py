"""The published recipes, one file a family, and one modern default for every network."""

import importlib
import pkgutil
from dataclasses import replace

import torch

from convatlas.data import ArraySplit, default_preprocessing
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.registry import NetworkCard, card
from convatlas.training.recipe import Recipe
from convatlas.training.recipes.modern import modern
from convatlas.training.recipes.modern_dense import (
    modern_detection,
    modern_pose,
    modern_segmentation,
    transfer_detection,
    transfer_pose,
    transfer_segmentation,
)
from convatlas.training.recipes.transfer import start_from, transfer

__all__ = ["PUBLISHED", "TRANSFER", "adapted", "find", "modern", "start_from", "transfer", "variants"]

_families = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]

PUBLISHED: dict[tuple[str, str], Recipe] = {
    (entry.network, entry.variant): entry for family in _families for entry in getattr(family, "RECIPES", ())
}

MODERN = {
    "classification": modern,
    "segmentation": modern_segmentation,
    "detection": modern_detection,
    "pose": modern_pose,
}

TRANSFER = {
    "classification": transfer,
    "segmentation": transfer_segmentation,
    "detection": transfer_detection,
    "pose": transfer_pose,
}

SMALL_DATA = 6_000  # samples


def variants(network: str) -> list[str]:
    """The names of a network's recipes; "modern" is always the last."""
    return [*(variant for name, variant in PUBLISHED if name == network), "modern"]


def find(name: str, variant: str = "published", *, preprocessing: Preprocessing | None = None) -> Recipe:
    """A recipe by network (or alias) and variant.

    Args:
        name: of `convatlas.names`.
        variant: one of `variants`.
        preprocessing: of the images, which decides the augmentation of "modern"; by default that of images larger than
            the network's input. The published recipes don't ask for it.

    Raises:
        UsageError: the network or the variant is unknown.

    Example:
        >>> find("lenet5", "published").epochs
        20
    """
    network: NetworkCard = card(name)
    if variant == "modern":
        return MODERN[network.task](network, preprocessing or of_large_images(network))
    if (network.name, variant) not in PUBLISHED:
        known = ", ".join(variants(network.name))
        raise UsageError(f"recipe {variant!r} is unknown for {network.name}; it has {known}")
    return PUBLISHED[network.name, variant]


def of_large_images(network: NetworkCard) -> Preprocessing:
    """The preprocessing of images that are larger than the network's input."""
    channels, height, width = network.input_shape
    black = ArraySplit(torch.zeros(1, channels, 2 * height, 2 * width, dtype=torch.uint8), torch.zeros(1))
    return default_preprocessing(network, black)


def adapted(recipe: Recipe, num_samples: int) -> Recipe:
    """The recipe with the passes that it states for small sets, and a note that says so."""
    if recipe.small_data_epochs is None or num_samples >= SMALL_DATA:
        return recipe
    note = (
        f"The published {recipe.epochs} passes became {recipe.small_data_epochs}, because this set has only "
        f"{num_samples:,} samples; the schedule is stretched in proportion."
    )
    return replace(recipe, epochs=recipe.small_data_epochs, notes=(*recipe.notes, note))
