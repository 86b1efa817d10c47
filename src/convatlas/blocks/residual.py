"""What residual networks share: shortcuts past a block, and stages of blocks of one width.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, sections 3.2 and 4.

Shapes   B batch, C channels into a block, D its width, E its output channels, H x W feature map into it, s its stride.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.dims import layers


class Residual(nn.Module):
    """A block that adds its residual to what its `shortcut` makes of its input."""

    shortcut: nn.Module


class Block(Protocol):
    """What builds the blocks of a network: a class of blocks, or an object that knows more than their width."""

    @property
    def expansion(self) -> int:
        """E / D."""
        ...

    @property
    def depth(self) -> int:
        """Weight layers of its residual."""
        ...

    def __call__(self, in_channels: int, width: int, stride: int, dims: int = 2, /) -> nn.Module:
        """A block (B, C, H, W) -> (B, E, H/s, W/s)."""
        ...


class SubsampleAndPad(nn.Module):
    """Shortcut option A: each second pixel, then zeros for the new channels.  (B, C, H, W) -> (B, E, H/s, W/s)

    Odd sizes are rounded up, as by the convolutions beside it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        axes = x.dim() - 2
        whole, strided = slice(None), slice(None, None, self.stride)
        return F.pad(x[(whole, whole, *axes * (strided,))], (*axes * (0, 0), 0, self.new_channels))

    def extra_repr(self) -> str:
        return f"new_channels={self.new_channels}, stride={self.stride}"


def option_a(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity, or `SubsampleAndPad` where the shape changes.  (B, C, H, W) -> (B, E, H/s, W/s)"""
    same = stride == 1 and in_channels == out_channels
    return nn.Identity() if same else SubsampleAndPad(in_channels, out_channels, stride)


def option_b(in_channels: int, out_channels: int, stride: int, dims: int = 2) -> nn.Module:
    """The identity, or a normalised 1x1 projection where the shape changes.  (B, C, H, W) -> (B, E, H/s, W/s)"""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    of = layers(dims)
    return nn.Sequential(
        OrderedDict(
            conv=of.conv(in_channels, out_channels, 1, stride=stride, bias=False),
            bn=of.batch_norm(out_channels),
        )
    )


def stage(
    prefix: str, block: Callable[[int, int], nn.Module], channels: tuple[int, int], depth: int, stride: int
) -> nn.Sequential:
    """Blocks `prefix`1 to `prefix``depth`, of which the first has the stride.  (B, C, H, W) -> (B, E, H/s, W/s)

    Args:
        prefix: of the blocks' names.
        block: builds one from (channels into it, stride).
        channels: C, E.
        depth: number of blocks.
        stride: s.

    Example:
        >>> blocks = stage("conv3_", lambda c, s: nn.Conv2d(c, 8, 3, s, 1), (4, 8), depth=2, stride=2)
        >>> [(name, layer.in_channels, layer.stride) for name, layer in blocks.named_children()]
        [('conv3_1', 4, (2, 2)), ('conv3_2', 8, (1, 1))]
    """
    before, after = channels
    blocks = {f"{prefix}1": block(before, stride)}
    blocks |= {f"{prefix}{index}": block(after, 1) for index in range(2, depth + 1)}
    return nn.Sequential(OrderedDict(blocks))
