"""The deconvnet from its own parts: transposed convolutions, unpooling by switches, rectification, layer by layer.

This is section 2.1 of Zeiler and Fergus taken literally, for every network whose forward pass torch.fx can follow. It
shares nothing with autograd, and gives what `deconvnet` gives: the one proves the other.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from convatlas.blocks.residual import SubsampleAndPad
from convatlas.errors import ConvatlasError
from convatlas.visualise.backward import evaluating, find_layer

Pair = tuple[int, int]
SAME = frozenset({"dropout", "contiguous", "clone", "local_response_norm"})  # functions that pass the signal


@dataclass(frozen=True)
class Step:
    """One operation undone: the signal as it stands below it."""

    name: str  # module path, or the function's name
    signal: Tensor  # (B, C, H, W) or (B, N)


def project(net: nn.Module, x: Tensor, layer: str, signal: Tensor) -> list[Step]:
    """Sends a signal of the shape of `layer`'s output down to the input, step by step; the last step is the input's.

    Args:
        x: (B, C, H, W), the images whose switches are used.

    Raises:
        UsageError: no such layer.
        ConvatlasError: the network can't be followed by torch.fx, or holds an operation without a step here.
    """
    find_layer(net, layer)
    with evaluating(net), torch.no_grad():
        try:
            graph = fx.GraphModule(net, _Tracer().trace(net))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConvatlasError(
                f"{type(net).__name__} can't be walked step by step ({str(error).splitlines()[0]}); "
                "deconvnet.project takes any network"
            ) from error
        recorded = _Recorded(graph)
        recorded.run(x)
        nodes = list(graph.graph.nodes)
        start = max(i for i, node in enumerate(nodes) if _inside(node, layer))
        signals, steps = {nodes[start]: signal}, []
        for node in reversed(nodes[: start + 1]):
            if node not in signals or node.op == "placeholder":
                continue
            for source, below in _undo(graph, recorded, node, signals.pop(node)):
                signals[source] = signals[source] + below if source in signals else below
                steps.append(Step(str(node.target if node.op == "call_module" else node.name), signals[source]))
    return steps


def unpool(signal: Tensor, switches: Tensor, size: Pair) -> Tensor:
    """Puts each value where its window's maximum was; where windows overlap and chose the same place, values add up.

    (B, C, h, w) with flat places of the same shape -> (B, C, H, W). `MaxUnpool2d` keeps only one of those that meet.
    """
    flat = signal.new_zeros(*signal.shape[:2], size[0] * size[1])
    return flat.scatter_add_(2, switches.flatten(2), signal.flatten(2)).unflatten(2, size)


def unfilter(signal: Tensor, conv: nn.Conv2d, size: Pair) -> Tensor:
    """The transposed filters of a convolution, without bias: (B, N, h, w) -> (B, C, H, W)"""
    padding = conv.padding
    if isinstance(padding, str):
        raise ConvatlasError(f"padding {padding!r} has no transposed step here; expected numbers")
    left_over = [
        size[i] - ((signal.shape[2 + i] - 1) * conv.stride[i] - 2 * padding[i])
        - conv.dilation[i] * (conv.kernel_size[i] - 1) - 1
        for i in (0, 1)
    ]  # fmt: skip
    return F.conv_transpose2d(
        signal, conv.weight, None, conv.stride, padding, left_over, conv.groups, conv.dilation
    )  # fmt: skip


def unaverage(signal: Tensor, pool: nn.AvgPool2d, size: Pair) -> Tensor:
    """Spreads each value evenly over the window that it was the mean of: (B, C, h, w) -> (B, C, H, W)"""
    kernel, stride, padding = (_pair(value) for value in (pool.kernel_size, pool.stride, pool.padding))
    reach = [(signal.shape[2 + i] - 1) * stride[i] + kernel[i] for i in (0, 1)]
    inside = torch.ones(1, 1, *size, dtype=signal.dtype, device=signal.device)
    inside = F.pad(inside, (padding[1], padding[1], padding[0], padding[0]), value=float(pool.count_include_pad))
    canvas = [max(reach[i], inside.shape[2 + i]) for i in (0, 1)]
    inside = F.pad(inside, (0, canvas[1] - inside.shape[3], 0, canvas[0] - inside.shape[2]))
    ones = torch.ones(1, 1, *kernel, dtype=signal.dtype, device=signal.device)
    share = signal / F.conv2d(inside[:, :, : reach[0], : reach[1]], ones, stride=stride)
    spread = F.conv_transpose2d(
        share, ones.expand(signal.shape[1], 1, *kernel), stride=stride, groups=signal.shape[1]
    )  # fmt: skip
    spread = F.pad(spread, (0, canvas[1] - reach[1], 0, canvas[0] - reach[0]))
    return spread[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def unaverage_adaptively(signal: Tensor, size: Pair) -> Tensor:
    """The same for windows that an adaptive pool chose: (B, C, h, w) -> (B, C, H, W)"""
    below = signal.new_zeros(*signal.shape[:2], *size)
    (H, W), (h, w) = size, signal.shape[2:]
    for row in range(h):
        for column in range(w):
            rows = slice(row * H // h, -(-(row + 1) * H // h))
            columns = slice(column * W // w, -(-(column + 1) * W // w))
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            below[:, :, rows, columns] += signal[:, :, row : row + 1, column : column + 1] / area
    return below


class _Tracer(fx.Tracer):
    """Looks into every module but torch's own and the shortcuts of option A, which ask for their input's axes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SubsampleAndPad) or super().is_leaf_module(m, module_qualified_name)


class _Recorded(fx.Interpreter):
    """A forward pass that keeps what every operation gave."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)

    def value(self, node: fx.Node) -> Any:
        return self.env[node]


def _inside(node: fx.Node, layer: str) -> bool:
    """Whether an operation belongs to the module of that path; every operation belongs to the network ("")."""
    if node.op == "output":
        return False
    path = next(reversed(node.meta.get("nn_module_stack", {"": None})), "")
    return not layer or path == layer or path.startswith(f"{layer}.")


def _pair(value: Any) -> Pair:
    return (int(value[0]), int(value[1])) if isinstance(value, (tuple, list)) else (int(value), int(value))


def _undo(graph: fx.GraphModule, recorded: _Recorded, node: fx.Node, signal: Tensor) -> list[tuple[fx.Node, Tensor]]:
    """(source, its share of the signal) for each tensor that the operation read."""
    sources = [source for source in node.all_input_nodes if isinstance(recorded.value(source), Tensor)]
    values = [recorded.value(source) for source in sources]
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        return [(sources[0], _undo_module(module, values[0], signal))]
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", str(node.target))
    if node.target in (operator.add, operator.iadd, torch.add):
        return [(source, signal) for source in sources]
    if node.target in (torch.cat, torch.concat):
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        parts = signal.split([value.shape[axis] for value in values], dim=axis)  # pyright: ignore[reportArgumentType]
        return list(zip(sources, parts, strict=True))
    if node.target is operator.getitem:
        below = torch.zeros_like(values[0])
        place: Any = node.args[1]
        below[place] = signal
        return [(sources[0], below)]
    if name == "pad":
        amounts: Any = node.args[1]
        return [(sources[0], F.pad(signal, [-amount for amount in amounts]))]
    if name in ("flatten", "view", "reshape"):
        return [(sources[0], signal.reshape(values[0].shape))]
    if name in SAME:
        return [(sources[0], signal)]
    if name == "relu":
        return [(sources[0], signal.clamp(min=0))]
    raise ConvatlasError(f"the operation {name!r} has no step here; deconvnet.project takes any network")


def _undo_module(module: nn.Module, x: Tensor, signal: Tensor) -> Tensor:
    size = (x.shape[2], x.shape[3]) if x.dim() == 4 else (1, 1)
    if isinstance(module, SubsampleAndPad):
        below = torch.zeros_like(x)
        below[:, :, :: module.stride, :: module.stride] = signal[:, : x.shape[1]]
        return below
    undo: dict[type[nn.Module], Callable[[Any], Tensor]] = {
        nn.ReLU: lambda _: signal.clamp(min=0),
        nn.Conv2d: lambda conv: unfilter(signal, conv, size),
        nn.MaxPool2d: lambda pool: unpool(signal, _switches(pool, x), size),
        nn.AvgPool2d: lambda pool: unaverage(signal, pool, size),
        nn.AdaptiveAvgPool2d: lambda _: unaverage_adaptively(signal, size),
        nn.BatchNorm2d: lambda norm: signal * (norm.weight * (norm.running_var + norm.eps).rsqrt())[:, None, None],
        nn.Linear: lambda layer: signal @ layer.weight,
        nn.Flatten: lambda _: signal.reshape(x.shape),
        nn.LocalResponseNorm: lambda _: signal,
        nn.Dropout: lambda _: signal,
        nn.Identity: lambda _: signal,
    }
    for kind, step in undo.items():
        if isinstance(module, kind):
            return step(module)
    raise ConvatlasError(f"a {type(module).__name__} has no step here; deconvnet.project takes any network")


def _switches(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    return F.max_pool2d(
        x, pool.kernel_size, pool.stride, pool.padding, pool.dilation, ceil_mode=pool.ceil_mode, return_indices=True
    )[1]  # pyright: ignore[reportReturnType]
