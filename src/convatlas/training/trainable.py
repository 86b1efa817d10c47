"""Whether a network can train on inputs and batches of some size, found by trying; nothing is tabled.

In evaluation a network takes inputs that it can't train on: batch normalisation has no variance of a single value, and
auxiliary heads ask for more pixels than the trunk.
"""

from collections.abc import Iterable

import torch
from torch import nn

from convatlas import registry, sizes
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.training.recipe import OwnRule, Recipe

ENOUGH = 4  # samples, on which a network trains wherever it trains on any


def check(recipe: Recipe, preprocessing: Preprocessing, samples: int | None = None, processes: int = 1) -> None:
    """Refuses an input size or a batch on which the recipe's network can't train.

    Only what is sure is refused: a network that can't run without values, as one that searches regions, is not judged.

    Args:
        recipe: whose network, batch size and accumulation count.
        preprocessing: of the images, which gives the input size.
        samples: of an epoch, whose last batch may be smaller; None: not known yet.
        processes: that share a batch, unless their statistics are joined (then 1).

    Raises:
        UsageError: with the batch sizes or the input sizes that would do.
    """
    if isinstance(recipe.optimizer, OwnRule):
        return
    counts = {smallest_part(batch, processes * recipe.accumulate) for batch in batches(recipe.batch_size, samples)}
    card, shape = registry.card(recipe.network), (preprocessing.channels, *preprocessing.size)
    if min(counts) >= ENOUGH and shape[1:] == card.input_shape[1:]:
        return
    with torch.device("meta"):
        net = registry.build(card.name, in_channels=preprocessing.channels).train()
    if all(sizes.runs(net, (count, *shape)) for count in counts):
        return
    needed = next((count for count in range(1, ENOUGH + 1) if sizes.runs(net, (count, *shape))), None)
    if needed is not None:
        raise UsageError(_too_few(recipe, shape, samples, processes, needed))
    _refuse_size(net, recipe.network, shape, (preprocessing.channels, *card.input_shape[1:]))


def batches(batch_size: int, samples: int | None) -> set[int]:
    """The sizes of an epoch's batches.

    >>> sorted(batches(16, 33)), batches(16, 8), batches(16, None)
    ([1, 16], {8}, {16})
    """
    if samples is None:
        return {batch_size}
    return {size for size in (min(batch_size, samples), samples % batch_size) if size}


def smallest_part(batch: int, parts: int) -> int:
    """The size of the smallest part of a batch that is not empty.

    >>> smallest_part(17, 4), smallest_part(3, 4)
    (4, 1)
    """
    return max(batch // parts, 1)


def _too_few(recipe: Recipe, shape: tuple[int, ...], samples: int | None, processes: int, needed: int) -> str:
    def trains(batch_size: int) -> bool:
        parts = processes * recipe.accumulate
        return all(smallest_part(batch, parts) >= needed for batch in batches(batch_size, samples))

    size = recipe.batch_size
    near: Iterable[int] = sorted(range(1, 2 * size + 8 * needed), key=lambda other: (abs(other - size), -other))
    other = next((batch for batch in near if trains(batch)), None)
    few = min(smallest_part(batch, processes * recipe.accumulate) for batch in batches(size, samples))
    where = "" if samples is None else f", which leaves {samples % size or size} of {samples:,} images for the last one"
    return (
        f"batch_size is {size}{where}; {recipe.network} can't train on {few} at {shape[1]} x {shape[2]} pixels, where "
        "batch normalisation sees a single value a feature map; "
        + (f"expected another batch size, such as {other}" if other else f"expected at least {needed} images")
    )


def _refuse_size(net: nn.Module, name: str, shape: tuple[int, ...], published: tuple[int, ...]) -> None:
    """Raises UsageError where the published input trains and this one does not."""
    taken = sizes.find_sizes(net, published, samples=ENOUGH)
    for side, allowed, axis in zip(shape[1:], taken, ("height", "width"), strict=True):
        if allowed is not None and side not in allowed:
            raise UsageError(f"size has the {axis} {side}; {name} trains on {allowed}")
