"""The preprocessing that suits a network and a data set where no recipe says otherwise."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from convatlas.data.preprocess import MEASURE, pack_mean_image, prepare
from convatlas.data.splits import ArraySplit, Split
from convatlas.errors import ConvatlasError
from convatlas.records import NetworkCard, Preprocessing

_Statistics = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: _Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Published input scales of the digit networks, as mean and std of values in [0, 1]
_PUBLISHED: dict[str, _Statistics] = {
    "lenet5": ((0.1 / 1.275,), (1 / 1.275,)),  # background -0.1 and ink 1.175, LeCun et al. 1998, section III.A
    "lenet_1989": ((0.5,), (0.5,)),  # -1 to 1, LeCun et al. 1989
    "caffe_lenet": ((0.0,), (256 / 255,)),  # `scale: 0.00390625` in Caffe's lenet_train_test.prototxt
    "perceptron": ((0.5,), (0.5,)),  # a photocell is on above half of the light
    "neocognitron_1980": ((0.0,), (1.0,)),  # cells are silent on paper
    "neocognitron_handwriting": ((0.0,), (1.0,)),
    **{f"ciresan2010_mlp_{net}": ((0.5,), (0.5,)) for net in range(1, 6)},  # -1 to 1, Ciresan et al. 2010
    "mcdnn_mnist": ((0.5,), (0.5,)),
}
_DIGIT_FIELD = {32: 28}  # LeNet-5 sees the digit in the middle 28 x 28 of its 32 x 32 pixels
_LARGE = 64  # from here on inputs are photographs
_SAMPLE = 10_000  # encoded images that are read for mean and std
_SIZED = 9  # encoded images that are read for the usual size


def default_preprocessing(card: NetworkCard, split: Split) -> Preprocessing:
    """Size, resizing and normalisation for a network (by its published input) and the images of a training part.

    Digit networks fit the whole image into their field (28 of 32 pixels for LeNet-5). Inputs of 64 pixels and more
    take the short side at 256/224 of the input and the centre, or the input's side where the images are smaller
    than it. Between these, images of nearly the input's size are padded and others scaled. Means and deviations are
    the published ones, ImageNet's for large inputs, and otherwise those of the training images after the resizing,
    rounded to 4 digits (of 10,000 evenly spaced ones where they have to be decoded).

    Raises:
        ConvatlasError: none of the images that were tried can be read.
    """
    channels, height, width = card.input_shape
    side = min(height, width)
    kind, to = _resizing(channels, side, usual_size(split))
    geometry = Preprocessing((height, width), channels, kind, to)
    if card.name in _PUBLISHED:
        mean, std = _PUBLISHED[card.name]
    elif side >= _LARGE and channels == 3:
        mean, std = IMAGENET
    else:
        mean, std = statistics(split, geometry)
    return Preprocessing((height, width), channels, kind, to, mean, std)


def _resizing(channels: int, side: int, image: tuple[int, int]) -> tuple:
    """(`resize`, `resize_to`) for an input of `side` pixels and images of (H, W)."""
    short, long = min(image), max(image)
    if channels == 1 and side < _LARGE:
        field = _DIGIT_FIELD.get(side, side)
        return ("none", None) if field <= long <= side else ("fit", field)
    if side >= _LARGE:
        ratio = 256 / side if 224 <= side <= 227 else 8 / 7
        return "short_side", side if short < side else round(side * ratio)
    nearly = side * 0.8 <= short and long <= side
    return ("none", None) if nearly else ("short_side", side)


def usual_size(split: Split) -> tuple[int, int]:
    """Median (H, W) of a few images."""
    if isinstance(split, ArraySplit):
        return split.images.shape[2], split.images.shape[3]
    sizes = torch.tensor([image.shape[1:] for image in _readable(split, _SIZED)])
    height, width = sizes.median(dim=0).values.tolist()
    return height, width


def _readable(split: Split, count: int) -> list[Tensor]:
    """Evenly spaced images, without the damaged ones."""
    images: list[Tensor] = []
    reason = "it has no images"
    for index in _evenly(len(split), count):
        try:
            images.append(split.read(index))
        except ConvatlasError as error:
            reason = str(error)
    if not images:
        raise ConvatlasError(f"none of the training images that were tried can be read: {reason}")
    return images


def _evenly(n: int, count: int) -> list[int]:
    return list(range(n)) if n <= count else [i * n // count for i in range(count)]


def statistics(split: Split, geometry: Preprocessing) -> _Statistics:
    """Mean and std, channel by channel, of prepared images in [0, 1], rounded to 4 digits."""
    total = torch.zeros(geometry.channels, dtype=torch.float64)
    squares = torch.zeros(geometry.channels, dtype=torch.float64)
    count = 0
    for batch in _prepared(split, geometry):
        values = batch.transpose(0, 1).flatten(1).to(torch.float64)  # (C, B h w)
        total += values.sum(1)
        squares += values.square().sum(1)
        count += values.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    spread = [round(value, 4) for value in (std / 255).tolist()]
    # images of one colour have no spread to divide by
    return tuple(round(value, 4) for value in (mean / 255).tolist()), tuple(value or 1.0 for value in spread)


def measured(preprocessing: Preprocessing, split: Split) -> Preprocessing:
    """With a mean image that was asked for ("training") filled in from the training images.

    The mean is that of the prepared images, pixel by pixel, as Krizhevsky et al. 2012 and He et al. 2016 subtract it.
    It has the size of the network's input and stays in its place when a crop moves (AlexNet's release moves it along:
    a difference of a few grey levels at most, since a mean image is smooth). Of encoded images 10,000 evenly spaced
    ones are read.
    """
    if preprocessing.mean_image != MEASURE:
        return preprocessing
    total = torch.zeros(preprocessing.channels, *preprocessing.size, dtype=torch.float64)
    count = 0
    for batch in _prepared(split, preprocessing):
        total += batch.sum(dim=0, dtype=torch.float64)
        count += len(batch)
    if count == 0:
        raise ConvatlasError("no training image can be read for the mean image; expected at least one")
    return replace(preprocessing, mean_image=pack_mean_image(total / (255 * count)))


def _prepared(split: Split, geometry: Preprocessing) -> Iterator[Tensor]:
    if isinstance(split, ArraySplit):
        for batch in split.images.split(1024):
            yield prepare(batch, geometry)
        return
    for index in _evenly(len(split), _SAMPLE):
        try:
            image = split.read(index)
        except ConvatlasError:
            continue  # the loader will name it
        yield prepare(image, geometry)[None]
