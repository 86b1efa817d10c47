"""Trained layers of one network in another: a classifier as an encoder, an earlier stage in a later one."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from convatlas.errors import UsageError


def transplant(net: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copies each tensor whose name `net` has too, in the shape of `net`'s; the others are left out.

    A fully connected layer, O x I, becomes the convolution O x C x H x W of the same weights (Long et al., surgery.py).

    Returns:
        The names of what was copied.

    Raises:
        UsageError: no name is shared, or one of that name has another number of entries; nothing was copied.
    """
    own = net.state_dict()
    shared = tuple(name for name in own if name in tensors)
    if not shared:
        raise UsageError(f"the weights have no layer of {type(net).__name__}; expected names like {next(iter(own))}")
    for name in shared:
        if tensors[name].numel() != own[name].numel():
            found, expected = tuple(tensors[name].shape), tuple(own[name].shape)
            raise UsageError(f"the weights' {name} is {found}; {type(net).__name__} has {expected}")
    with torch.no_grad():
        for name in shared:
            own[name].copy_(tensors[name].view(own[name].shape))
    return shared
