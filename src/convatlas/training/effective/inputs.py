"""What enters a network: the live preprocessing applied to black, grey, white and coloured images."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convatlas.data import ArraySplit, DataSet, default_preprocessing, measured, normalise
from convatlas.data.defaults import IMAGENET
from convatlas.data.preprocess import MEASURE, prepare
from convatlas.records import NetworkCard, Preprocessing
from convatlas.training.plain import plain
from convatlas.training.recipe import Recipe

GREY = 128
_LARGE = 64  # pixels; from here on inputs are photographs, which are larger than they


@dataclass(frozen=True)
class InputEffect:
    """The values of the network's input, one a channel, in the order in which the channels enter."""

    size: tuple[int, int]
    channel_order: str  # rgb, bgr or grey
    black: tuple[float, ...]
    grey: tuple[float, ...]
    white: tuple[float, ...]
    mean: str  # what is subtracted: "none", "image" (the training images' mean image), "colour"
    resize: str
    mean_grey: float  # mean and deviation over all values of the three inputs
    std_grey: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    """One augmentation: its name, its settings, and what it says of its distribution."""

    name: str
    settings: dict[str, Any]
    distribution: str


def operations(steps: Sequence[Any]) -> tuple[Operation, ...]:
    """The augmentations of a recipe, in the order in which they are applied."""
    return tuple(
        Operation(
            type(step).__name__,
            {name: value for name, value in plain(step).items() if name != "kind"},
            (type(step).__doc__ or "").strip().split("\n")[0],
        )
        for step in steps
    )


def input_of(recipe: Recipe, card: NetworkCard, data: DataSet | None) -> InputEffect:
    """What the recipe makes of a black, a grey and a white image.

    Without data, a mean that would be measured on the training images is left out, and a note says so.
    """
    preprocessing, notes = _preprocessing(recipe, card, data)
    mean = "image" if preprocessing.mean_image is not None else "colour" if any(preprocessing.mean) else "none"
    if preprocessing.mean_image == MEASURE:
        notes.append("the mean image is measured on the training images; the values here are before its subtraction")
        preprocessing = replace(preprocessing, mean_image=None, mean=(0.0,) * preprocessing.channels)
    shown = torch.cat([_entering(preprocessing, (level,) * 3) for level in (0, GREY, 255)])
    black, level, white = (tuple(round(v, 6) for v in image.mean(dim=(1, 2)).tolist()) for image in shown)
    resize = preprocessing.resize if preprocessing.resize_to is None else (
        f"{preprocessing.resize} to {preprocessing.resize_to}"
    )  # fmt: skip
    if preprocessing.middle < 1:
        resize = f"{resize}, after the middle {preprocessing.middle:g} of both sides"
    grey = shown[1]
    return InputEffect(
        preprocessing.size, _order(preprocessing), black, level, white, mean, resize,
        float(grey.mean()), float(grey.std(correction=0)), tuple(notes),
    )  # fmt: skip


def _preprocessing(recipe: Recipe, card: NetworkCard, data: DataSet | None) -> tuple[Preprocessing, list[str]]:
    if data is not None:
        return measured(recipe.preprocessing or default_preprocessing(card, data.train), data.train), []
    if recipe.preprocessing is not None:
        return recipe.preprocessing, []
    dark = _of_two_levels(card, 0)
    if (dark.mean, dark.std) == IMAGENET or dark == _of_two_levels(card, 255):
        return dark, []
    neutral = replace(dark, mean=(0.0,) * dark.channels, std=(1.0,) * dark.channels)
    return neutral, ["mean and deviation are measured on the training images; the values here are before both"]


@functools.cache
def _of_two_levels(card: NetworkCard, level: int) -> Preprocessing:
    return default_preprocessing(card, _two_levels(card, level))


def _two_levels(card: NetworkCard, level: int) -> ArraySplit:
    """A grey and another image, larger than a photograph's input, or of the size of a small one."""
    channels, height, width = card.input_shape
    factor = 2 if min(height, width) >= _LARGE else 1
    images = torch.full((2, channels, factor * height, factor * width), GREY, dtype=torch.uint8)
    images[0] = level
    return ArraySplit(images, torch.zeros(2, dtype=torch.long))


def _entering(preprocessing: Preprocessing, colour: tuple[int, ...]) -> Tensor:
    """An image of one colour as it enters the network: (1, C, H, W)"""
    height, width = preprocessing.size
    side = preprocessing.resize_to or 0
    pixel = torch.tensor(colour[: preprocessing.channels], dtype=torch.uint8).view(1, -1, 1, 1)
    image = pixel.expand(1, preprocessing.channels, max(height, side), max(width, side)).contiguous()
    return normalise(prepare(image, preprocessing), preprocessing)


def _order(preprocessing: Preprocessing) -> str:
    """Which channel of the input a red image lights up."""
    if preprocessing.channels == 1:
        return "grey"
    lit = _entering(preprocessing, (255, 0, 0)) - _entering(preprocessing, (0, 0, 0))
    return {0: "rgb", 2: "bgr"}.get(int(lit.mean(dim=(0, 2, 3)).argmax()), "other")
