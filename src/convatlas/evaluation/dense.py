"""A classifier as a convolution: its fully connected layers slide over the map of a larger image.

Sermanet et al. 2013, section 3.3; Simonyan and Zisserman 2014, section 3.2. The score map has one position for each
window of the published input that the strides allow, and costs one forward pass.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.network import published_shape
from convatlas.records import Shape


@runtime_checkable
class SlidesByItself(Protocol):
    """A network with a dense form of its own, such as OverFeat's with its shifted poolings."""

    def dense(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, h, w)"""
        ...


@dataclass
class _Survey:
    """What one forward pass of the published input calls: replacements by module name."""

    names: dict[nn.Module, str]
    found: dict[str, nn.Module] = field(default_factory=dict)
    flattened: Shape | None = None  # (C, h, w) of the map that was flattened last

    def hook(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        x = inputs[0]
        match module:
            case nn.Flatten():
                self.flattened = tuple(x.shape[1:])
                self.found[self.names[module]] = nn.Identity()
            case nn.Linear():
                self.found[self.names[module]] = self._sliding(module)
                self.flattened = (module.out_features, 1, 1)
            case nn.AdaptiveAvgPool2d():
                self.found[self.names[module]] = self._averaging(tuple(x.shape[2:]), tuple(output.shape[2:]))

    def _sliding(self, layer: nn.Linear) -> nn.Conv2d:
        if self.flattened is None or len(self.flattened) != 3:
            raise UsageError("a fully connected layer does not follow a flattened map")
        channels, height, width = self.flattened
        convolution = nn.Conv2d(1, 1, 1, bias=layer.bias is not None)
        convolution.in_channels, convolution.out_channels = channels, layer.out_features
        convolution.kernel_size = (height, width)
        convolution.weight = nn.Parameter(layer.weight.detach().view(-1, channels, height, width))  # the same memory
        convolution.bias = layer.bias
        return convolution

    def _averaging(self, before: Shape, after: Shape) -> nn.Module:
        if after == before:
            return nn.Identity()
        if after != (1, 1):
            raise UsageError(f"the average of a {before} map over {after} positions does not slide")
        return nn.AvgPool2d((before[0], before[1]), stride=1)


def to_fully_convolutional(net: nn.Module, input_shape: Shape | None = None) -> nn.Module:
    """The network in eval mode as (B, C, H, W) -> (B, K, h, w), for images from the published input on.

    Flattening disappears, fully connected layers become convolutions of the map that they saw, global average pooling
    becomes a window of that map. The weights are shared with `net`, not copied. On the published input the result is
    checked against the network's. On larger images each position of the map is the network's answer for a window of
    that size, exactly where no layer pads its maps, since a window alone has zeros where the image goes on.

    Args:
        net: features, then average pooling or flattening, then fully connected layers, each a module that is called.
        input_shape: (C, H, W) of the window; None: as published, for a registered network.

    Raises:
        UsageError: the network has no such form, or `input_shape` is not known.
    """
    if input_shape is None:
        input_shape = published_shape(net)
    if input_shape is None:
        raise UsageError(
            f"input_shape is None; {type(net).__name__} was not published with one size, expected (C, H, W)"
        )
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    sliding = copy.deepcopy(net, shared).eval()
    survey = _Survey({module: name for name, module in sliding.named_modules()})
    handles = [module.register_forward_hook(survey.hook) for module in sliding.modules()]
    device = next((tensor.device for tensor in shared.values()), torch.device("cpu"))
    x = torch.rand(1, *input_shape, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.no_grad():
            expected = sliding(x)
            for handle in handles:
                handle.remove()
            for name, module in survey.found.items():
                sliding.set_submodule(name, module.to(device).eval())
            found = sliding(x)
    except (RuntimeError, ValueError, TypeError, UsageError) as error:
        raise UsageError(f"{type(net).__name__} has no fully convolutional form: {error}") from error
    rounding = 1e-3 * expected.abs().max().item() + 1e-6  # logits of an untrained VGG are near 10^5
    if found.shape != (*expected.shape, 1, 1) or not torch.allclose(found[:, :, 0, 0], expected, atol=rounding):
        raise UsageError(f"{type(net).__name__} has no fully convolutional form: its scores would change")
    return sliding


def score_map(net: nn.Module, input_shape: Shape) -> Any:
    """The network's own dense form, or the one of `to_fully_convolutional`: a function (B, C, H, W) -> (B, K, h, w)."""
    return net.dense if isinstance(net, SlidesByItself) else to_fully_convolutional(net, input_shape)
