"""Residual networks as ensembles of paths: what is left when blocks are taken out or change places.

Veit, Wilber, Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", arXiv:1605.06431,
2016. A network of n blocks is a sum over 2^n paths: each block's residual is passed through or not. Taking a block out
leaves its shortcut, and half of the paths.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.analysis.trace import trace
from convatlas.blocks.residual import Residual
from convatlas.errors import UsageError
from convatlas.visualise import backward
from convatlas.visualise.style import MUTED, PUBLISHED, TEST, TRAIN, house_style

Array = NDArray[np.float64]
Measure = Callable[[], float]  # the error of the network as it stands


@dataclass(frozen=True)
class Lesions:
    """Errors (fractions) after taking parts out."""

    parts: tuple[str, ...]  # module paths, from the input on
    intact: float
    one: Array  # (parts,) without each
    several: Array  # (K, draws) without 1 ... K random parts
    orders: Array  # (swaps,) Kendall's tau between the blocks' order and the network's own
    reordered: Array  # (swaps,) the error in that order


@dataclass(frozen=True)
class Paths:
    """The paths of a network of n blocks by how many residuals they pass."""

    lengths: NDArray[np.int64]  # (n + 1,)
    share: Array  # (n + 1,) of all 2^n paths
    gradient: Array  # (n + 1, draws) norm of the loss's derivative by the first block's input along random paths

    @property
    def contribution(self) -> Array:
        """The share of the gradient that comes by paths of each length: number of paths times mean norm."""
        total = self.share * self.gradient.mean(axis=1)
        return total / total.sum()


def residual_ends(net: nn.Module, x: Tensor) -> dict[str, str]:
    """Block -> the module that ends its residual, for every residual block, in the order of the forward pass.

    Raises:
        UsageError: the network has no such block.
    """
    records = trace(net, tuple(x.shape[1:]), device=x.device)
    blocks = [name for name, module in net.named_modules() if isinstance(module, Residual)]
    found: dict[str, str] = {}
    for record in records:
        block = record.name.rpartition("/")[0]
        if record.kind != "add" or block not in blocks:
            continue
        for index in record.inputs:
            while index >= 0 and "/" in records[index].name:
                index = records[index].inputs[0]
            name = records[index].name if index >= 0 else ""
            if name.startswith(f"{block}.") and not name.startswith(f"{block}.shortcut"):
                found[block] = name
    if not found:
        raise UsageError(f"{type(net).__name__} has no residual blocks; expected a network with shortcuts")
    return found


def same_shape_layers(net: nn.Module) -> list[str]:
    """The convolutions of a plain network that keep the shape, and so can be left out: (B, C, H, W) -> (B, C, H, W)"""
    return [
        name for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels and layer.stride == (1, 1)
        and all(2 * layer.padding[i] == layer.dilation[i] * (layer.kernel_size[i] - 1) for i in (0, 1))  # pyright: ignore[reportOperatorIssue]
    ]  # fmt: skip


@contextmanager
def without_residuals(net: nn.Module, ends: Sequence[str]) -> Iterator[None]:
    """The residuals that end in these modules give zero, which leaves the shortcuts."""
    with ExitStack() as stack:
        for end in ends:
            module = net.get_submodule(end)
            stack.callback(module.register_forward_hook(_zeros).remove)
        yield


def _zeros(_: nn.Module, __: object, output: Tensor) -> Tensor:
    return torch.zeros_like(output)


@contextmanager
def without_layers(net: nn.Module, layers: Sequence[str]) -> Iterator[None]:
    """These layers give what they get."""
    with ExitStack() as stack:
        for layer in layers:
            module = net.get_submodule(layer)
            stack.callback(module.register_forward_hook(lambda _, inputs, __: inputs[0]).remove)
        yield


@contextmanager
def exchanged(net: nn.Module, order: dict[str, str]) -> Iterator[None]:
    """At the place of each key the block of its value computes."""
    forwards: dict[str, Any] = {other: net.get_submodule(other).forward for other in order.values()}
    try:
        for place, other in order.items():
            net.get_submodule(place).forward = forwards[other]
        yield
    finally:
        for place in order:
            vars(net.get_submodule(place)).pop("forward", None)


def exchangeable(net: nn.Module, blocks: Sequence[str]) -> list[list[str]]:
    """Groups of blocks with identity shortcuts and equal weights' shapes: those that may change places."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for block in blocks:
        module = net.get_submodule(block)
        if isinstance(module, Residual) and isinstance(module.shortcut, nn.Identity):
            shapes = tuple((name, tuple(weight.shape)) for name, weight in module.named_parameters())
            groups.setdefault(shapes, []).append(block)
    return [group for group in groups.values() if len(group) > 1]


def lesions(
    net: nn.Module,
    x: Tensor,
    error: Measure,
    *,
    draws: int = 5,
    most: int = 10,
    swaps: int = 12,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Lesions:
    """Takes out each residual block, then 1 to `most` random ones, and exchanges random pairs; a plain network loses
    layers that keep the shape instead, and nothing is exchanged.

    Args:
        x: (B, C, H, W), a sample that the network can take.
        error: measures the network's error on some data; called once for each variant.
        draws: random choices for each number of parts.
    """
    random = np.random.default_rng(seed)
    plain = not any(isinstance(module, Residual) for module in net.modules())
    ends = {name: name for name in same_shape_layers(net)} if plain else residual_ends(net, x)
    if not ends:
        raise UsageError(f"{type(net).__name__} has neither residual blocks nor convolutions that keep the shape")
    parts, take_out = tuple(ends), without_layers if plain else without_residuals
    groups = [] if plain else exchangeable(net, parts)
    most = min(most, len(parts) - 1)
    total, done = len(parts) + most * draws + (swaps if groups else 0), 0

    def measured(variant: Any) -> float:
        nonlocal done
        with variant:
            found = error()
        done += 1
        if on_progress is not None:
            on_progress(done, total)
        return found

    intact = error()
    one = [measured(take_out(net, [ends[part]])) for part in parts]
    several = [
        [
            measured(take_out(net, [ends[parts[i]] for i in random.permutation(len(parts))[:count]]))
            for _ in range(draws)
        ]
        for count in range(1, most + 1)
    ]
    orders, reordered = [], []
    for swap in range(swaps if groups else 0):
        order = {name: name for group in groups for name in group}
        exchanges = 1 + swap // 2
        while exchanges > 0 or all(name == other for name, other in order.items()):
            first, second = random.choice(groups[int(random.integers(len(groups)))], 2, replace=False)
            order[first], order[second] = order[second], order[first]
            exchanges -= 1
        places = list(order)
        orders.append(kendalls_tau([places.index(order[name]) for name in places]))
        reordered.append(measured(exchanged(net, order)))
    return Lesions(
        parts, intact, np.array(one), np.array(several).reshape(most, draws), np.array(orders), np.array(reordered)
    )


def kendalls_tau(order: Sequence[int]) -> float:
    """1 for places in their own order, -1 for the reverse: 1 less twice the share of pairs that are inverted."""
    places = np.asarray(order)
    inverted = np.triu(places[:, None] > places[None, :], 1).sum()
    return float(1 - 4 * inverted / (len(places) * (len(places) - 1)))


def paths(net: nn.Module, x: Tensor, targets: Tensor, *, draws: int = 20, seed: int = 0) -> Paths:
    """How much gradient comes by paths of each length (section 4.3): going down, each block passes the signal through
    its residual alone or through its shortcut alone; which ones, is drawn.

    Args:
        x: (B, C, H, W)
        targets: (B,) classes
    """
    ends = residual_ends(net, x)
    blocks = list(ends)
    through: set[str] = set()
    entered: list[Tensor] = []

    def branch(block: str, residual: bool) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
            output = output.clone()  # an identity gives the block's own input, which feeds the residual too
            output.register_hook(lambda signal: signal * float((block in through) == residual))
            return output

        return hook

    def enter(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        entered.append(inputs[0].detach().requires_grad_())
        return (entered[0], *inputs[1:])

    random = np.random.default_rng(seed)
    gradient = np.zeros((len(blocks) + 1, draws))
    with ExitStack() as stack:
        stack.enter_context(backward.evaluating(net))
        stack.enter_context(torch.enable_grad())
        stack.callback(net.get_submodule(blocks[0]).register_forward_pre_hook(enter).remove)
        for block, end in ends.items():
            stack.callback(net.get_submodule(end).register_forward_hook(branch(block, True)).remove)
            shortcut = net.get_submodule(f"{block}.shortcut")
            stack.callback(shortcut.register_forward_hook(branch(block, False)).remove)
        loss = F.cross_entropy(net(x), targets)
        for length in range(len(blocks) + 1):
            for draw in range(draws):
                through.clear()
                through.update(blocks[i] for i in random.permutation(len(blocks))[:length])
                (down,) = torch.autograd.grad(loss, entered[0], retain_graph=True)
                gradient[length, draw] = float(down.norm())
    n = len(blocks)
    share = np.array([math.comb(n, length) / 2**n for length in range(n + 1)])
    return Paths(np.arange(n + 1), share, gradient)


def figure(found: Lesions, by_length: Paths | None) -> Figure:
    """One part out, several out, exchanged, and the paths by length."""
    with house_style():
        panels = 2 + (len(found.orders) > 0) + (by_length is not None)
        sheet = Figure(figsize=(3.3 * panels, 3.0), layout="constrained")
        axes = list(sheet.subplots(1, panels))
        first, second = axes[:2]
        first.bar(range(len(found.parts)), 100 * found.one, color=TRAIN)
        step = -(-len(found.parts) // 12)
        first.set_xticks(range(0, len(found.parts), step), found.parts[::step], rotation=60, ha="right", fontsize=7)
        first.set_title("error without one part", fontsize=9)
        counts = range(1, len(found.several) + 1)
        second.plot(counts, 100 * found.several, ".", color=MUTED)
        second.plot(counts, 100 * found.several.mean(axis=1), color=TEST)
        second.set_xlabel("random parts taken out")
        second.set_title("error without several", fontsize=9)
        if len(found.orders):
            axes[2].plot(found.orders, 100 * found.reordered, "o", color=TEST, markersize=4)
            axes[2].invert_xaxis()
            axes[2].set_xlabel("Kendall's tau to the own order")
            axes[2].set_title("error with blocks exchanged", fontsize=9)
        for axis in axes[: 3 if len(found.orders) else 2]:
            axis.axhline(100 * found.intact, color=PUBLISHED, linestyle=(0, (5, 3)), linewidth=1)
            axis.set_ylim(bottom=0)
            axis.set_ylabel("%")
        if by_length is not None:
            last = axes[-1]
            last.bar(by_length.lengths - 0.2, 100 * by_length.share, 0.4, color=TRAIN, label="of the paths")
            last.bar(by_length.lengths + 0.2, 100 * by_length.contribution, 0.4, color=TEST, label="of the gradient")
            last.set_xlabel("residuals passed")
            last.set_ylabel("%")
            last.legend(frameon=False, fontsize=7)
            last.set_title("paths by length", fontsize=9)
    return sheet
