"""How papers and their releases draw initial weights, each under its usual name, and the walk that applies them.

A filler takes a weight, (out, in, ...), and fills it in place.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from convatlas.blocks.dims import BATCH_NORMS, CONVS

Filler = Callable[[Tensor], object]
WEIGHTED = (*CONVS, nn.ConvTranspose2d, nn.Linear)


def he_normal(mode: Literal["fan_in", "fan_out"] = "fan_in") -> Filler:
    """N(0, 2 / fan): He et al., ICCV 2015, equation 10; `fan_out` is its equation 14, "msra" in Caffe the first."""
    return partial(nn.init.kaiming_normal_, mode=mode, nonlinearity="relu")


def gaussian(std: float) -> Filler:
    """N(0, std^2)."""
    return partial(nn.init.normal_, std=std)


def cut_gaussian(std: float) -> Filler:
    """N(0, std^2) without what lies beyond two deviations, as TensorFlow's truncated normal."""
    return partial(_truncate_normal, std=std)


def _truncate_normal(tensor: Tensor, *, std: float) -> Tensor:
    """torch's, which does nothing on the meta device: there the same distribution by inversion, for those who watch."""
    if not tensor.is_meta:
        return nn.init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)
    bound = math.erf(math.sqrt(2))  # of two deviations
    with torch.no_grad():
        return tensor.uniform_(-bound, bound).erfinv_().mul_(std * math.sqrt(2))


def uniform(bound: float) -> Filler:
    """Uniform in +-bound."""
    return partial(nn.init.uniform_, a=-bound, b=bound)


def caffe_xavier(weight: Tensor) -> None:
    """Uniform with variance 1 / fan-in: the filler "xavier" of Caffe."""
    bound = (3 / weight[0].numel()) ** 0.5
    nn.init.uniform_(weight, -bound, bound)


def darknet(weight: Tensor) -> None:
    """Uniform up to sqrt(2 / fan-in), as in Darknet's `make_convolutional_layer`."""
    bound = (2 / weight[0].numel()) ** 0.5
    nn.init.uniform_(weight, -bound, bound)


def initialise_as_darknet(net: nn.Module) -> None:
    """Uniform weights; biases are 0 in convolutions and sqrt(2 / fan-in) in fully connected layers.

    Source: src/convolutional_layer.c and src/connected_layer.c of pjreddie/darknet, November 2015.
    """
    initialise(net, darknet)
    for layer in net.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.constant_(layer.bias, (2 / layer.in_features) ** 0.5)


def torch7(weight: Tensor) -> None:
    """Uniform in +-1 / sqrt(fan-in): the default of Torch7."""
    bound = weight[0].numel() ** -0.5
    nn.init.uniform_(weight, -bound, bound)


def initialise(
    layers: nn.Module | Iterable[nn.Module],
    weights: Filler,
    *,
    fully_connected: Filler | None = None,
    by_name: Mapping[str, Filler] | None = None,
    bias: float | None = 0.0,
) -> None:
    """Fills the weights of convolutions and fully connected layers, in the order of the layers.

    Args:
        layers: a network, of which all layers are filled, or the layers themselves.
        weights: of all layers, but for those that follow.
        fully_connected: of `nn.Linear`; None: as the others.
        by_name: of single layers of a network, by their names.
        bias: of all layers that have biases; None leaves them as torch drew them.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
        >>> initialise(net, gaussian(0.01), bias=1.0)
        >>> net[2].bias.tolist()
        [1.0, 1.0]
    """
    named = layers.named_modules() if isinstance(layers, nn.Module) else (("", layer) for layer in layers)
    exceptions = by_name or {}
    for name, layer in named:
        if not isinstance(layer, WEIGHTED):
            continue
        usual = fully_connected if fully_connected is not None and isinstance(layer, nn.Linear) else weights
        exceptions.get(name, usual)(layer.weight)
        if bias is not None and layer.bias is not None:
            nn.init.constant_(layer.bias, bias)


def initialise_norms(net: nn.Module, *, bias: float) -> None:
    """Sets the biases of batch normalisations, whose weights stay 1."""
    for layer in net.modules():
        if isinstance(layer, BATCH_NORMS) and layer.bias is not None:
            nn.init.constant_(layer.bias, bias)


def initialise_as_fb_resnet(net: nn.Module) -> None:
    """As fb.resnet.torch and the releases that grew from it: He et al. over the fan-out, Torch7's fc, biases 0."""
    initialise(net, he_normal("fan_out"), fully_connected=torch7)


def fill_parameters(net: nn.Module, filler: Filler) -> None:
    """Fills every parameter, biases too, in their order."""
    for parameter in net.parameters():
        filler(parameter)
