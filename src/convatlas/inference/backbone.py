"""A network as the backbone of another one: the outputs of its layers at once, with their channels and strides.

The outputs are taken by forward hooks, which work for every network of the atlas: some can't be captured as a graph.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from convatlas.analysis.receptive_field import receptive_fields
from convatlas.analysis.trace import trace
from convatlas.errors import ConvatlasError, UsageError
from convatlas.network import published_shape
from convatlas.records import Shape
from convatlas.sizes import bare_copy


@dataclass(frozen=True)
class FeatureInfo:
    """What a decoder or a head has to know of the layers, by the names that timm gives it."""

    layers: tuple[str, ...]
    num_channels: tuple[int, ...]
    strides: tuple[int, ...]  # pixels of the input from one position to the next

    def module_name(self) -> tuple[str, ...]:
        """The module paths, in their order."""
        return self.layers

    def channels(self) -> tuple[int, ...]:
        """The channels of each layer's feature map."""
        return self.num_channels

    def reduction(self) -> tuple[int, ...]:
        """The stride of each layer's feature map, in pixels of the input."""
        return self.strides


class Features(nn.Module):
    """A network that returns what the named layers give, by name.  (B, C, H, W) -> {name: (B, ...)}

    Gradients flow through, and `net` is the network itself: this can be the backbone of another one. What comes after
    the last of the layers is computed too.
    """

    def __init__(self, net: nn.Module, layers: Sequence[str], input_shape: Shape | None = None) -> None:
        super().__init__()
        check_layers(net, layers)
        self.net = net
        self.layers = tuple(layers)
        self._input_shape = input_shape

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda module, inputs, output: found.__setitem__(name, output)

        handles = [self.net.get_submodule(name).register_forward_hook(keep(name)) for name in self.layers]
        try:
            self.net(x)
        finally:
            for handle in handles:
                handle.remove()
        silent = [name for name in self.layers if name not in found]
        if silent:
            raise ConvatlasError(f"layer {silent[0]} did not run; in evaluation mode auxiliary heads do not")
        return {name: found[name] for name in self.layers}

    @cached_property
    def feature_info(self) -> FeatureInfo:
        """Channels and strides of the layers, found by a pass on `meta`.

        Raises:
            UsageError: the size of the network's input is not known.
        """
        return describe_layers(self.net, self.layers, self._input_shape)


def features(net: nn.Module, layers: Sequence[str] | None = None, *, input_shape: Shape | None = None) -> Features:
    """A module that returns the outputs of named layers at once; names are module paths, as `convatlas show` has them.

    Args:
        net: any network.
        layers: None takes the last layer of each resolution that is more than one position.
        input_shape: (C, H, W) that channels and strides are found with; None: the published input of the class.

    Raises:
        UsageError: no layers, or one that the network lacks; the message suggests the nearest names.
    """
    if layers is None:
        layers = last_of_each_resolution(net, input_shape)
    return Features(net, layers, input_shape)


def last_of_each_resolution(net: nn.Module, input_shape: Shape | None = None) -> tuple[str, ...]:
    """The modules that end each stage of a backbone: behind them the feature map gets smaller.

    Raises:
        UsageError: the network has no feature maps, or the size of its input is not known.
    """
    shape = _shape_of(net, input_shape)
    strides, (outputs, classes) = _strides(net, shape), _outputs(net, shape)
    last: dict[int, str] = {}
    for name, out in outputs:
        stride = strides.get(name, 0)
        spatial = len(out) > 1 and max(out[1:]) > 1 and out[0] != classes
        if spatial and stride >= max(last, default=1) and all(strides[block] == stride for block in _blocks(net, name)):
            last[stride] = name
    if not last:
        raise UsageError(f"{type(net).__name__} has no feature maps; expected a convolutional network")
    return tuple(last.values())


def _blocks(net: nn.Module, name: str) -> list[str]:
    """The modules around a layer, without mere sequences of layers: what is inside a block is no stage's end."""
    parts = name.split(".")
    around = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    return [path for path in around if not isinstance(net.get_submodule(path), nn.Sequential | nn.ModuleList)]


def describe_layers(net: nn.Module, layers: Sequence[str], input_shape: Shape | None = None) -> FeatureInfo:
    """Channels and strides of named layers; arguments and errors as `features`."""
    check_layers(net, layers)
    shape = _shape_of(net, input_shape)
    strides, channels = _strides(net, shape), {name: out[0] for name, out in _outputs(net, shape)[0]}
    silent = [name for name in layers if name not in channels]
    if silent:
        raise ConvatlasError(f"layer {silent[0]} did not run; in evaluation mode auxiliary heads do not")
    return FeatureInfo(
        tuple(layers), tuple(channels[name] for name in layers), tuple(strides.get(name, 0) for name in layers)
    )


def _strides(net: nn.Module, input_shape: Shape) -> dict[str, int]:
    """Pixels of the input between neighbouring positions of what a module gives, by its path."""
    records = trace(bare_copy(net).eval(), input_shape)
    strides: dict[str, int] = {}
    for record, field in zip(records, receptive_fields(records), strict=True):
        parents = record.name.partition("/")[0].split(".")
        for depth in range(len(parents)):
            strides[".".join(parents[: depth + 1])] = round(field.stride[0]) if field is not None else 0
    return strides


def _outputs(net: nn.Module, input_shape: Shape) -> tuple[list[tuple[str, Shape]], int]:
    """(module path, its output's shape without the batch axis) where modules that run once end; the net's channels."""
    bare, ended = bare_copy(net).eval(), list[tuple[str, Shape]]()

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                ended.append((name, tuple(output.shape[1:])))

        return hook

    for name, module in bare.named_modules():
        if name:
            module.register_forward_hook(note(name))
    with torch.no_grad():
        result = bare(torch.empty(1, *input_shape, device="meta"))
    names = [name for name, _ in ended]
    once = [(name, shape) for name, shape in ended if names.count(name) == 1]
    return once, result.shape[1] if isinstance(result, Tensor) else 0


def _shape_of(net: nn.Module, input_shape: Shape | None) -> Shape:
    shape = input_shape or published_shape(net)
    if shape is None:
        raise UsageError(f"the input of {type(net).__name__} is not known; expected input_shape, such as (3, 224, 224)")
    return shape


def check_layers(net: nn.Module, layers: Sequence[str]) -> None:
    names = [name for name, _ in net.named_modules() if name]
    if not layers:
        raise UsageError("no layer is named; expected at least one")
    for layer in layers:
        if layer not in names:
            near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it begins with {', '.join(names[:4])}"
            raise UsageError(f"layer {layer} is not in {type(net).__name__}; {hint}")
