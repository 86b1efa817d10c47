"""The layers of signals (1-D), images (2-D) and volumes (3-D) under one set of names.

A network that takes `dims` asks `layers(dims)` once and builds from its fields: `of = layers(3); of.conv(16, 32, 3)`.
"""

from dataclasses import dataclass

from torch import nn

from convatlas.errors import UsageError


@dataclass(frozen=True)
class Layers:
    """The layer classes of one number of spatial axes; an int for kernel, stride or padding holds for every axis."""

    dims: int
    conv: type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]
    conv_transpose: type[nn.ConvTranspose1d] | type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]
    batch_norm: type[nn.BatchNorm1d] | type[nn.BatchNorm2d] | type[nn.BatchNorm3d]
    max_pool: type[nn.MaxPool1d] | type[nn.MaxPool2d] | type[nn.MaxPool3d]
    avg_pool: type[nn.AvgPool1d] | type[nn.AvgPool2d] | type[nn.AvgPool3d]
    adaptive_max_pool: type[nn.AdaptiveMaxPool1d] | type[nn.AdaptiveMaxPool2d] | type[nn.AdaptiveMaxPool3d]
    adaptive_avg_pool: type[nn.AdaptiveAvgPool1d] | type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]
    map_dropout: type[nn.Dropout1d] | type[nn.Dropout2d] | type[nn.Dropout3d]  # drops whole maps


_LAYERS = {
    1: Layers(
        dims=1,
        conv=nn.Conv1d,
        conv_transpose=nn.ConvTranspose1d,
        batch_norm=nn.BatchNorm1d,
        max_pool=nn.MaxPool1d,
        avg_pool=nn.AvgPool1d,
        adaptive_max_pool=nn.AdaptiveMaxPool1d,
        adaptive_avg_pool=nn.AdaptiveAvgPool1d,
        map_dropout=nn.Dropout1d,
    ),
    2: Layers(
        dims=2,
        conv=nn.Conv2d,
        conv_transpose=nn.ConvTranspose2d,
        batch_norm=nn.BatchNorm2d,
        max_pool=nn.MaxPool2d,
        avg_pool=nn.AvgPool2d,
        adaptive_max_pool=nn.AdaptiveMaxPool2d,
        adaptive_avg_pool=nn.AdaptiveAvgPool2d,
        map_dropout=nn.Dropout2d,
    ),
    3: Layers(
        dims=3,
        conv=nn.Conv3d,
        conv_transpose=nn.ConvTranspose3d,
        batch_norm=nn.BatchNorm3d,
        max_pool=nn.MaxPool3d,
        avg_pool=nn.AvgPool3d,
        adaptive_max_pool=nn.AdaptiveMaxPool3d,
        adaptive_avg_pool=nn.AdaptiveAvgPool3d,
        map_dropout=nn.Dropout3d,
    ),
}

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""For isinstance, as in an initialisation that holds for every `dims`."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""For isinstance, too."""


def layers(dims: int) -> Layers:
    """The layer classes for `dims` spatial axes.

    Raises:
        UsageError: `dims` is not 1, 2 or 3.
    """
    if dims not in _LAYERS:
        raise UsageError(f"dims is {dims!r}; expected 1 (signals), 2 (images) or 3 (volumes)")
    return _LAYERS[dims]
