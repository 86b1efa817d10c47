"""The preprocessing that suits a network and its images, where no recipe says so; of classifiers see `defaults`."""

from dataclasses import replace

import torch

from convatlas import registry
from convatlas.data.defaults import IMAGENET, statistics, usual_size
from convatlas.data.splits import Split
from convatlas.records import NetworkCard, Preprocessing
from convatlas.sizes import Sizes, find_sizes


def person_preprocessing(card: NetworkCard, split: Split) -> Preprocessing:
    """People are cut out in the network's size."""
    return Preprocessing((card.input_shape[1], card.input_shape[2]), mean=IMAGENET[0], std=IMAGENET[1])


def detector_preprocessing(card: NetworkCard, split: Split) -> Preprocessing:
    """A square input is the whole image, stretched; any other bounds the short and the long side."""
    channels, height, width = card.input_shape
    resize = "stretch" if height == width else "short_side"
    mean, std = IMAGENET if channels == 3 else ((0.5,), (0.5,))
    return Preprocessing((height, width), channels, resize, height, mean, std)


def window_preprocessing(card: NetworkCard, split: Split) -> Preprocessing:
    """The window that a network learns from, and the normalisation of its images.

    The window is the published input, or less where the images are smaller: then the longest side that the network
    takes within theirs. Images are not scaled, but for a network that takes one size only: its images' short side
    becomes the input's. Colour images are normalised by ImageNet's mean and deviation, grey ones by their own.
    """
    channels, *published = card.input_shape
    with torch.device("meta"):
        net = registry.build(card.name).eval()
    sizes = find_sizes(net, card.input_shape)
    image = usual_size(split)
    if all(axis is not None and axis.smallest == axis.largest for axis in sizes):
        geometry = Preprocessing((published[0], published[1]), channels, "short_side", min(published))
    else:
        window = [fitting(side, least, axis) for side, least, axis in zip(published, image, sizes, strict=True)]
        geometry = Preprocessing((window[0], window[1]), channels)
    mean, std = IMAGENET if channels == 3 else statistics(split, geometry)
    return replace(geometry, mean=mean, std=std)


def fitting(published: int, image: int, sizes: Sizes | None) -> int:
    """The published length of a side, or the longest that the network takes within a shorter image's."""
    if sizes is None or image >= published:
        return published
    steps = (image - sizes.smallest) // sizes.step
    return published if steps < 0 else sizes.smallest + steps * sizes.step
