"""A recipe with what people change most often: input size, balance, early stopping, the rate for another batch."""

from dataclasses import replace
from typing import Any

import torch

from convatlas import registry
from convatlas.data.augment import RandomCrop, RandomResizedCrop, RandomSizedCrop, ScaleJitter
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.sizes import find_sizes
from convatlas.training.mechanisms import EarlyStopping
from convatlas.training.recipe import SGD, Adam, AdamW, Recipe, RMSProp

Pair = tuple[int, int]
HasRate = SGD | AdamW | Adam | RMSProp


def with_size(recipe: Recipe, size: Pair) -> Recipe:
    """The recipe for another input size: images, crops and scales change in proportion.

    Args:
        recipe: with its preprocessing.
        size: (H, W) in pixels.

    Raises:
        UsageError: the network does not take that size, or the recipe subtracts a mean image of another one.
    """
    before = recipe.preprocessing
    if before is None:
        raise UsageError("size has no place in a recipe without preprocessing; set preprocessing first")
    if size == before.size:
        return recipe
    _check_size(recipe.network, size)
    if before.mean_image not in (None, "training"):
        raise UsageError(f"size is {size[0]} x {size[1]}, but the recipe subtracts a mean image of {before.size}")
    ratio = min(size) / min(before.size)

    def scaled(sides: Pair) -> Pair:
        return max(1, round(sides[0] * size[0] / before.size[0])), max(1, round(sides[1] * size[1] / before.size[1]))

    def changed(step: Any) -> Any:
        if isinstance(step, RandomResizedCrop | RandomSizedCrop):
            return replace(step, size=scaled(step.size))
        if isinstance(step, RandomCrop):
            return replace(step, size=scaled(step.size), within=None if step.within is None else scaled(step.within))
        if isinstance(step, ScaleJitter):
            low, high = step.short_side
            return replace(step, size=scaled(step.size), short_side=(round(low * ratio), round(high * ratio)))
        return step

    to = None if before.resize_to is None else max(round(before.resize_to * ratio), 1)
    preprocessing: Preprocessing = replace(before, size=size, resize_to=to)
    note = f"The input is {size[0]} x {size[1]} pixels instead of {before.size[0]} x {before.size[1]}."
    augment = tuple(changed(step) for step in recipe.augment)
    return replace(recipe, preprocessing=preprocessing, augment=augment, notes=(*recipe.notes, note))


def _check_size(network: str, size: Pair) -> None:
    card = registry.card(network)
    with torch.device("meta"):
        net = registry.build(card.name).eval()
    sizes = find_sizes(net, card.input_shape)
    for side, allowed, axis in zip(size, sizes, ("height", "width"), strict=True):
        if allowed is not None and side not in allowed:
            raise UsageError(f"size has the {axis} {side}; {card.name} takes {allowed}")


def with_early_stopping(recipe: Recipe, patience: int) -> Recipe:
    """The recipe that ends after `patience` epochs without a lower error, and keeps the best epoch."""
    return replace(recipe, stop=EarlyStopping(patience), keep="best")


def with_scaled_rate(recipe: Recipe, published_batch_size: int) -> Recipe:
    """The recipe with its rate in proportion to its batch size (Goyal et al. 2017, section 2.1).

    Raises:
        UsageError: its rates are the schedule's, or the batch has its old size.
    """
    optimizer = recipe.optimizer
    if not isinstance(optimizer, HasRate):
        raise UsageError(f"scale_lr has no place in the {recipe.variant} recipe: its rates are the schedule's")
    if recipe.batch_size == published_batch_size:
        raise UsageError(f"scale_lr changes nothing: the batch has the recipe's {published_batch_size} samples")
    rate = optimizer.lr * recipe.batch_size / published_batch_size
    note = (
        f"The rate {optimizer.lr:g} became {rate:g}, as the batch has {recipe.batch_size} samples instead of "
        f"{published_batch_size}."
    )
    return replace(recipe, optimizer=replace(optimizer, lr=rate), notes=(*recipe.notes, note))
