"""`convatlas.create` and `convatlas.features`."""

import os
from collections.abc import Sequence
from typing import Literal, overload

from torch import nn

from convatlas import registry
from convatlas.api.arguments import suggest_arguments
from convatlas.inference import backbone
from convatlas.inference.backbone import Features
from convatlas.records import Shape
from convatlas.weights import create as create_with_weights

PathLike = str | os.PathLike[str]


@overload
def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
    weights: PathLike | None = None,
    features_only: Literal[False] = False,
) -> nn.Module: ...
@overload
def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
    weights: PathLike | None = None,
    features_only: Literal[True],
) -> Features: ...
@suggest_arguments
def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dims: int | None = None,
    weights: PathLike | None = None,
    features_only: bool = False,
) -> nn.Module:
    """Builds a network by its registered name: as published, with the paper's initialisation or with weights.

    A classifier returns logits (B, K), a segmenter logits (B, K, h, w), a pose network heat maps (B, J, h, w). In train
    mode a network with auxiliary heads returns `AuxiliaryOutputs(logits, auxiliary)`. A detector is trained by
    `net.losses(images, targets)` and asked by `net.detect(images)`. What each returns in training, and the loss that
    belongs to it, stands in its docstring: `help(type(net))`, and in `convatlas.recipe(name).loss`.

    Args:
        name: a name or an alias of `convatlas.names()`.
        num_classes: None takes that of the weights, else the published number.
        in_channels: None takes that of the weights, else the published number.
        dims: spatial axes of the input: 1 for signals (B, C, L), 2 for images, 3 for volumes (B, C, D, H, W).
        weights: a weights file of any format that `convatlas weights import` reads.
        features_only: a backbone that returns {layer: feature map} for the last layer of each resolution; its
            `feature_info` tells channels and strides.

    Raises:
        UsageError: an unknown name or argument, a number below 1, no such file, or weights of another network.
        ConvatlasError: the file can't be read, or does not fit.

    >>> import convatlas, torch
    >>> net = convatlas.create("squeezenet_v1_1", num_classes=7)
    >>> net.eval()(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 7])
    >>> backbone = convatlas.create("squeezenet_v1_1", features_only=True)
    >>> backbone.feature_info.channels(), backbone.feature_info.reduction()
    ((64, 128, 256, 512), (2, 4, 8, 16))
    """
    path = None if weights is None else os.path.expanduser(weights)
    net = create_with_weights(name, num_classes=num_classes, in_channels=in_channels, dims=dims, weights=path)
    if not features_only:
        return net
    published = registry.card(name).input_shape
    channels = published[0] if in_channels is None else in_channels
    sides = published[1:] if dims in (None, 2) else published[1:2] * (dims or 1)
    return backbone.features(net, input_shape=(channels, *sides))


@suggest_arguments
def features(net: nn.Module, layers: Sequence[str] | None = None, *, input_shape: Shape | None = None) -> Features:
    """Makes a network the backbone of another one: a module that returns the outputs of named layers.

    Gradients flow through. `feature_info` tells the channels and the strides, as timm's does.

    Args:
        net: any network, of the atlas or not.
        layers: module paths, as `convatlas show` has them; None takes the last layer of each resolution.
        input_shape: (C, H, W) that channels and strides are found with; None: the published input.

    Raises:
        UsageError: a layer that the network lacks, or an input that is not known.

    >>> import convatlas
    >>> backbone = convatlas.features(convatlas.create("resnet18"), ["conv3_x", "conv5_x"])
    >>> backbone.feature_info.channels(), backbone.feature_info.reduction()
    ((128, 512), (8, 32))
    """
    return backbone.features(net, layers, input_shape=input_shape)
