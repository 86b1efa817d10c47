"""Weights that a run starts from say what their images were; the first filters know nothing else.

The channel order, range and mean of their card win over a recipe's. Sizes and crops stay the recipe's own.
"""

import math
from dataclasses import replace
from pathlib import Path

from convatlas import weights
from convatlas.data.preprocess import unpack_mean_image
from convatlas.errors import UsageError
from convatlas.records import Preprocessing
from convatlas.training.recipe import Recipe

_TOLERANCE = 2e-3  # of the range between black and white, half a grey level


def preprocessing_of_start(recipe: Recipe) -> Preprocessing | None:
    """What the card of the weights that a recipe starts from says of their images; None where nothing is known."""
    if recipe.fine_tune is None:
        return None
    card = weights.read_card(recipe.fine_tune.weights, recipe.network)
    return weights.preprocessing_of(card) if card else None


def fed_as_trained(recipe: Recipe) -> Recipe:
    """The recipe with the values that the weights it starts from were trained on, and a note where its own differ.

    Example:
        >>> from convatlas.training import find
        >>> recipe = find("ssd300", "published")
        >>> fed_as_trained(recipe) is recipe  # it starts from nothing
        True
    """
    own, theirs = recipe.preprocessing, preprocessing_of_start(recipe)
    if recipe.fine_tune is None or own is None or theirs is None or feeds_alike(own, theirs):
        return recipe
    start = Path(recipe.fine_tune.weights).name
    note = f"{start} was trained on {describe(theirs)}, and so it is fed here; the recipe alone says {describe(own)}."
    return replace(recipe, preprocessing=with_values(own, theirs), notes=(*recipe.notes, note))


def check_start(recipe: Recipe, own: Preprocessing) -> None:
    """Refuses images on which the weights that a recipe starts from were not trained.

    Raises:
        UsageError: another channel order, range or mean.
    """
    theirs = preprocessing_of_start(recipe)
    if recipe.fine_tune is None or theirs is None or feeds_alike(own, theirs):
        return
    raise UsageError(
        f"preprocessing feeds {describe(own)}, but weights {recipe.fine_tune.weights} were trained on "
        f"{describe(theirs)}; expected these values, or no preprocessing, which takes them"
    )


def feeds_alike(own: Preprocessing, theirs: Preprocessing) -> bool:
    """Whether black and white become the same numbers, channel by channel, in the same order.

    Networks of other numbers of channels are not compared: their first layers do not fit anyway.
    """
    if own.channels != theirs.channels:
        return True
    wanted = with_values(own, theirs)
    if own.channels == 3 and own.channel_order != wanted.channel_order:
        return False
    if own.mean_image != wanted.mean_image:
        return False
    tolerance = _TOLERANCE / min(own.std)
    pairs = zip(_ends(own), _ends(wanted), strict=True)
    return all(math.isclose(a, b, abs_tol=tolerance) for one, other in pairs for a, b in zip(one, other, strict=True))


def with_values(own: Preprocessing, theirs: Preprocessing) -> Preprocessing:
    """One's size and crops, with the channel order, mean and range of the other.

    A mean image of another size becomes its mean colour.
    """
    values = replace(own, mean=theirs.mean, std=theirs.std, channel_order=theirs.channel_order, mean_image=None)
    if theirs.mean_image is None:
        return values
    if theirs.size == own.size:
        return replace(values, mean_image=theirs.mean_image)
    colour = unpack_mean_image(theirs).mean(dim=(1, 2)).tolist()
    return replace(values, mean=tuple(round(value, 5) for value in colour))


def describe(preprocessing: Preprocessing) -> str:
    """Channel order and range in words: "BGR from -103.9 to 151.1"."""
    order = preprocessing.channel_order.upper() if preprocessing.channels == 3 else "grey"
    if preprocessing.mean_image is not None:
        return f"{order} minus a mean image, divided by {preprocessing.std[0]:.4g}"
    black, white = _ends(preprocessing)
    places = -1 if preprocessing.channel_order == "bgr" else 1
    channels = zip(black[::places], white[::places], strict=True)
    ranges = list(dict.fromkeys(f"{low:.4g} to {high:.4g}" for low, high in channels))
    return f"{order} from {', '.join(ranges)}"


def _ends(preprocessing: Preprocessing) -> tuple[list[float], list[float]]:
    """What black and white become, one value a channel, red first."""
    count = preprocessing.channels
    mean = preprocessing.mean * count if len(preprocessing.mean) == 1 else preprocessing.mean
    std = preprocessing.std * count if len(preprocessing.std) == 1 else preprocessing.std
    pairs = list(zip(mean, std, strict=True))
    return [-m / s for m, s in pairs], [(1 - m) / s for m, s in pairs]
