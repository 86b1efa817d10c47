"""Dense blocks: every layer reads the maps of all layers before it, and adds k of its own.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017, section 3.
Pleiss, Chen, Huang, Li, van der Maaten, Weinberger, "Memory-Efficient Implementation of DenseNets", arXiv:1707.06990.

Stored for the backward pass, the concatenated and normalised inputs of L layers take memory that grows with L^2. The
second paper drops them and makes them again when their gradients are needed, which takes memory that grows with L.

Shapes   B batch, C channels into a block or layer, k growth rate, ... the axes of a signal, a map or a volume.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from convatlas.blocks.dims import BATCH_NORMS, layers


class DenseLayer(nn.Module):
    """H of the paper: the maps so far, one beside the other, normalised and convolved.  C in all -> (B, k, ...)

    Children are called in order; the first three are those that can be made again.
    """

    bn1: nn.Module
    relu1: nn.Module
    conv1: nn.Module

    def _first(self, *maps: Tensor) -> Tensor:
        return self.conv1(self.relu1(self.bn1(torch.cat(maps, 1))))

    def forward(self, maps: Sequence[Tensor], memory_efficient: bool = False) -> Tensor:
        if memory_efficient and torch.is_grad_enabled():
            x = checkpoint(self._first, *maps, use_reentrant=False, preserve_rng_state=False, context_fn=self._contexts)
        else:
            x = self._first(*maps)
        for layer in list(self.children())[3:]:
            x = layer(x)
        return x

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the first and the second time: a batch goes into the running statistics once."""
        return nullcontext(), _statistics_kept(self.bn1)


@contextmanager
def _statistics_kept(norm: nn.Module) -> Iterator[None]:
    """Batch normalisation with a momentum of 0, which leaves running statistics as they are, and uncounted."""
    assert isinstance(norm, BATCH_NORMS)
    momentum, counter = norm.momentum, norm.num_batches_tracked
    norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        norm.momentum, norm.num_batches_tracked = momentum, counter


class PlainLayer(DenseLayer):
    """BN, ReLU, 3x3 to k; then dropout, where there is any.  C maps in all -> (B, k, ...)"""

    def __init__(self, in_channels: int, growth_rate: int, *, dropout: float = 0.0, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        self.bn1 = of.batch_norm(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = of.conv(in_channels, growth_rate, 3, padding=1, bias=False)
        if dropout:
            self.dropout1 = nn.Dropout(dropout)


class BottleneckLayer(DenseLayer):
    """BN, ReLU, 1x1 to 4k, BN, ReLU, 3x3 to k; dropout after each, where there is any.  C maps in all -> (B, k, ...)"""

    def __init__(self, in_channels: int, growth_rate: int, *, dropout: float = 0.0, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        width = 4 * growth_rate
        self.bn1 = of.batch_norm(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = of.conv(in_channels, width, 1, bias=False)
        if dropout:
            self.dropout1 = nn.Dropout(dropout)
        self.bn2 = of.batch_norm(width)
        self.relu2 = nn.ReLU()
        self.conv2 = of.conv(width, growth_rate, 3, padding=1, bias=False)
        if dropout:
            self.dropout2 = nn.Dropout(dropout)


class DenseBlock(nn.Module):
    """`layer1` to `layer<depth>`, each of which reads all before it.  (B, C, ...) -> (B, C + depth k, ...)

    With `memory_efficient` in the forward call, what a layer concatenates and normalises is made again in the backward
    pass: the same gradients and running statistics, for about a fifth more time.
    """

    def __init__(
        self,
        layer: type[PlainLayer] | type[BottleneckLayer],
        in_channels: int,
        depth: int,
        growth_rate: int,
        *,
        dropout: float = 0.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.out_channels = in_channels + depth * growth_rate
        for index in range(depth):
            read = in_channels + index * growth_rate
            self.add_module(f"layer{index + 1}", layer(read, growth_rate, dropout=dropout, dims=dims))

    def forward(self, x: Tensor, memory_efficient: bool = False) -> Tensor:
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps, memory_efficient))
        return torch.cat(maps, 1)


def transition_layer(in_channels: int, out_channels: int, *, dropout: float = 0.0, dims: int = 2) -> nn.Sequential:
    """BN, ReLU, 1x1, 2x2 average pooling.  (B, C, H, W) -> (B, out_channels, H/2, W/2)"""
    of = layers(dims)
    parts: dict[str, nn.Module] = {
        "bn": of.batch_norm(in_channels),
        "relu": nn.ReLU(),
        "conv": of.conv(in_channels, out_channels, 1, bias=False),
    }
    if dropout:
        parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(OrderedDict(parts, pool=of.avg_pool(2, stride=2)))


def classification_layer(in_channels: int, num_classes: int, *, dims: int = 2) -> nn.Sequential:
    """BN, ReLU, the average of each map, and a weighted sum for each class.  (B, C, ...) -> (B, num_classes)"""
    of = layers(dims)
    return nn.Sequential(
        OrderedDict(
            bn=of.batch_norm(in_channels),
            relu=nn.ReLU(),
            pool=of.adaptive_avg_pool(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(in_channels, num_classes),
        )
    )
