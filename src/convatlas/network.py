"""The base class of registered networks: it carries the network's card, and names the sizes that an input may have."""

from typing import Any

import torch
from torch import Tensor, nn

from convatlas import sizes
from convatlas.errors import UsageError
from convatlas.records import NetworkCard, Shape


class Network(nn.Module):
    """A network that the registry knows. `registry.build` gives it its card.

    A forward pass that fails because of the input's size says which sizes the network takes. That is found out when a
    pass has failed, from the network as it then is; a pass that works costs nothing.

    Raises:
        UsageError: an input of a size that the network does not take.

    Example:
        >>> from convatlas import registry
        >>> registry.build("lenet5").card.paper
        'lecun1998'
    """

    card: NetworkCard | None = None  # None: built from its class, not by name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or sizes.is_trial():
            return super().__call__(*args, **kwargs)
        try:
            return super().__call__(*args, **kwargs)
        except sizes.FAILURES as error:
            if self.card is None or not args or not isinstance(args[0], Tensor):
                raise
            if reason := sizes.explain(self, args[0].shape, self.card.input_shape):
                raise UsageError(reason) from error
            raise


def published_shape(net: nn.Module) -> Shape | None:
    """(C, H, W) as published, C as in `net`; None for a network that was not built by name.

    Example:
        >>> from convatlas import registry
        >>> published_shape(registry.build("caffe_lenet", in_channels=3))
        (3, 28, 28)
    """
    first = next((layer for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or not isinstance(net, Network) or net.card is None:
        return None
    return (first.in_channels, *net.card.input_shape[1:])
