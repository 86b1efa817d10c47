"""FractalNet: as deep as a residual network without a residual: columns of many lengths, trained by dropping paths.

Larsson, Maire, Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017, arXiv:1605.07648.

Follows  Figure 1 and section 4: f_1 is one convolution, f_(c+1) is f_c twice beside one convolution, and five such
         blocks are each followed by pooling. Column c of a block is the path of 2^(c-1) convolutions; column 1 is the
         shortest. Joins are means. In the last block each column is pooled before the join, so that columns share
         `prediction`.
Departs  Dropout acts after each convolution, before its normalisation, as in the authors' generator; the paper gives
         only its rate in each block. The generator pools before the join in every block, the paper in the last one.
         Batch normalisation has its scale and shift, which the generator lacks. The paper prints 38.6M parameters for
         20 layers; its construction has 33.7M. The channels of `fractalnet40` are not confirmed: we take half of those
         of 20 layers (32, 64, 128, 256, 256), which does not give the printed 22.9M.
Shapes   B batch, C channels into a block, D its filters, H x W map, K classes.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convatlas.blocks.init import caffe_xavier, initialise
from convatlas.errors import UsageError
from convatlas.network import Network
from convatlas.records import Traits
from convatlas.registry import register

DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4)  # in each block
DROP_PATH = 0.15  # chance of each input of a join
LOCAL = 0.5  # of the batches; the others train one column alone


class Join(nn.Module):
    """The mean of the columns that meet; in training, of those that local drop-path leaves.  n x (B, D, H, W) -> same

    Each column is dropped for the whole batch with chance `DROP_PATH`; if all would be, one of them stays.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, maps: list[Tensor]) -> Tensor:
        if self.training and self.columns > 1:
            survives = torch.rand(self.columns, device="cpu") >= DROP_PATH
            if not survives.any():
                survives[torch.randint(self.columns, (), device="cpu")] = True
            maps = [x for x, keep in zip(maps, survives.tolist(), strict=True) if keep]
        total = maps[0]
        for x in maps[1:]:
            total = total + x
        return total / len(maps)

    def extra_repr(self) -> str:
        return f"columns={self.columns}"


def _layer(in_channels: int, filters: int, dropout: float) -> nn.Sequential:
    """3x3 convolution, dropout, BN, ReLU.  (B, C, H, W) -> (B, D, H, W)"""
    parts: dict[str, nn.Module] = {"conv": nn.Conv2d(in_channels, filters, 3, padding=1)}
    if dropout:
        parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(OrderedDict(parts, bn=nn.BatchNorm2d(filters), relu=nn.ReLU()))


class FractalBlock(nn.Module):
    """f_C: columns that meet in joins, then 2x2 max pooling.  (B, C, H, W) -> (B, D, H/2, W/2)

    A step is as long as one layer of the longest column. Layers that end with the same step meet in `join<step>`, and
    what it gives goes on in each of their columns. With `pool_first` each column is pooled before the last join.
    """

    def __init__(self, columns: int, in_channels: int, filters: int, dropout: float, *, pool_first: bool) -> None:
        super().__init__()
        self.columns, self.steps, self.pool_first = columns, 2 ** (columns - 1), pool_first
        for number in range(1, columns + 1):
            layers = {
                f"layer{index}": _layer(in_channels if index == 1 else filters, filters, dropout)
                for index in range(1, 2 ** (number - 1) + 1)
            }
            self.add_module(f"column{number}", nn.Sequential(OrderedDict(layers)))
            if pool_first:
                self.add_module(f"pool{number}", nn.MaxPool2d(2))
        for step in range(1, self.steps + 1):
            if len(ending := self.ending(step)) > 1 or step == self.steps:
                self.add_module(f"join{step}", Join(len(ending)))
        if not pool_first:
            self.pool = nn.MaxPool2d(2)

    def ending(self, step: int) -> list[int]:
        """The columns that have a layer which ends with this step, counted from 1."""
        return [number for number in range(1, self.columns + 1) if step % 2 ** (self.columns - number) == 0]

    def path(self, column: int) -> "OrderedDict[str, nn.Module]":
        """The layers and the pooling of one column, by name."""
        layers = OrderedDict(self.get_submodule(f"column{column}").named_children())
        layers["pool"] = self.get_submodule(f"pool{column}") if self.pool_first else self.pool
        return layers

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        if column is not None:
            for layer in self.path(column).values():
                x = layer(x)
            return x
        maps = [x] * self.columns
        for step in range(1, self.steps + 1):
            ending = self.ending(step)
            for number in ending:
                index = step // 2 ** (self.columns - number)
                maps[number - 1] = self.get_submodule(f"column{number}.layer{index}")(maps[number - 1])
                if step == self.steps and self.pool_first:
                    maps[number - 1] = self.get_submodule(f"pool{number}")(maps[number - 1])
            if len(ending) > 1 or step == self.steps:
                joined = self.get_submodule(f"join{step}")([maps[number - 1] for number in ending])
                for number in ending:
                    maps[number - 1] = joined
        return maps[0] if self.pool_first else self.pool(maps[0])


class FractalNet(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits, from images of 32 to 63 px.

    In training, half of the batches go through one column alone (global drop-path), drawn for the whole network; in the
    others each join drops some of its columns (local drop-path). What is drawn comes from torch's generator (CPU).
    """

    def __init__(self, columns: int, filters: tuple[int, ...], *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.columns = columns
        last = len(filters)
        c = (in_channels, *filters)

        def block(number: int) -> FractalBlock:
            dropout = DROPOUT[number - 1]
            return FractalBlock(columns, c[number - 1], c[number], dropout, pool_first=number == last)

        # The shapes are those of 20 layers.
        self.block1 = block(1)  # 64 x 16 x 16
        self.block2 = block(2)  # 128 x 8 x 8
        self.block3 = block(3)  # 256 x 4 x 4
        self.block4 = block(4)  # 512 x 2 x 2
        self.block5 = block(5)  # 512 x 1 x 1
        self.flatten = nn.Flatten()  # 512
        self.prediction = nn.Linear(filters[-1], num_classes)  # 10
        initialise(self, caffe_xavier)

    def blocks(self) -> tuple[FractalBlock, ...]:
        """The five blocks, in order."""
        return self.block1, self.block2, self.block3, self.block4, self.block5

    def forward(self, x: Tensor) -> Tensor:
        column = None
        if self.training and self.columns > 1 and torch.rand((), device="cpu").item() >= LOCAL:
            column = int(torch.randint(self.columns, (), device="cpu")) + 1
        for block in self.blocks():
            x = block(x, column)
        return self.prediction(self.flatten(x))


def column(net: FractalNet, index: int) -> nn.Sequential:
    """One column of every block as a plain network of its own, with the same (not copied) layers.  -> (B, K) logits

    Args:
        net: a FractalNet.
        index: 1, the shortest column, to the number of columns, the longest, which is as deep as the network.

    Raises:
        UsageError: the network has no such column.
    """
    if not 1 <= index <= net.columns:
        raise UsageError(f"column index is {index}; expected 1 to {net.columns}, the number of columns")
    blocks = {f"block{number}": nn.Sequential(block.path(index)) for number, block in enumerate(net.blocks(), start=1)}
    return nn.Sequential(OrderedDict(blocks, flatten=net.flatten, prediction=net.prediction))


WIDE = (64, 128, 256, 512, 512)
HALF = (32, 64, 128, 256, 256)
THIN = (16, 32, 64, 128, 128)


@register(
    paper="larsson2016_fractalnet",
    input_shape=(3, 32, 32),
    num_classes=10,
    aliases=("fractalnet20",),
    traits=Traits(draws_randomly=True),
)
def fractalnet20_cifar10(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet of 20 layers: 3 columns in each of 5 blocks."""
    return FractalNet(3, WIDE, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet40(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet of 40 layers: 4 columns in each of 5 blocks; its numbers of filters are not confirmed."""
    return FractalNet(4, HALF, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet_thin_c1(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet with few filters, 5 layers deep: 1 column in each block."""
    return FractalNet(1, THIN, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet_thin_c2(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet with few filters, 10 layers deep: 2 columns in each block."""
    return FractalNet(2, THIN, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet_thin_c3(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet with few filters, 20 layers deep: 3 columns in each block."""
    return FractalNet(3, THIN, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet_thin_c4(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet with few filters, 40 layers deep: 4 columns in each block."""
    return FractalNet(4, THIN, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet_thin_c5(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet with few filters, 80 layers deep: 5 columns in each block."""
    return FractalNet(5, THIN, num_classes=num_classes, in_channels=in_channels)


@register(paper="larsson2016_fractalnet", input_shape=(3, 32, 32), num_classes=10, traits=Traits(draws_randomly=True))
def fractalnet_thin_c6(*, num_classes: int = 10, in_channels: int = 3) -> FractalNet:
    """FractalNet with few filters, 160 layers deep: 6 columns in each block."""
    return FractalNet(6, THIN, num_classes=num_classes, in_channels=in_channels)
