"""Fully connected layers cut down to their largest singular values.

Girshick, "Fast R-CNN", ICCV 2015, section 3.1.
"""

from collections import OrderedDict

import torch
from torch import nn

from convatlas.errors import UsageError


def compress_fully_connected(net: nn.Module, **ranks: int) -> None:
    """Replaces fully connected layers by two of a lower rank each (section 3.1), as in `fc6=1024, fc7=256`.

    With W = U S V' cut to its largest singular values, the first layer is S V' without biases, the second U with the
    biases of before.

    Raises:
        UsageError: a layer is not fully connected, or its rank is below 1 or above that of its weights.
    """
    known = dict(net.named_modules())
    for name, rank in ranks.items():
        layer = known.get(name)
        if not isinstance(layer, nn.Linear):
            raise UsageError(f"{name} is {type(layer).__name__}; expected a fully connected layer of the network")
        if not 1 <= rank <= min(layer.weight.shape):
            raise UsageError(f"{name} is {rank}; expected a rank of 1 to {min(layer.weight.shape)}")
    for name, rank in ranks.items():
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, _cut(known[name], rank))


@torch.no_grad()
def _cut(layer: nn.Module, rank: int) -> nn.Sequential:
    """The best approximation of that rank, from the eigenvectors of W W'."""
    weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
    exact = weight.double()
    left = torch.linalg.eigh(exact @ exact.T)[1][:, -rank:].flip(1)  # U
    first = nn.Linear(weight.shape[1], rank, bias=False, device=weight.device, dtype=weight.dtype)
    second = nn.Linear(rank, weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype)
    first.weight.copy_(left.T @ exact)  # S V'
    second.weight.copy_(left)
    if bias is not None:
        second.bias.copy_(bias)
    return nn.Sequential(OrderedDict(svd=first, full=second))
