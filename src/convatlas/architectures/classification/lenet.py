"""LeNet: shared weights, sub-sampling and a distance to drawn prototypes, trained as one by backpropagation.

LeCun et al., "Backpropagation Applied to Handwritten Zip Code Recognition", Neural Computation 1(4), 1989.
LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998.

Follows  1989: figure 3. 1998: figure 2 and section II.B, Table I for the connections of C3, figure 3 for the codes.
Departs  1998 prints the RBF units as penalties (small is good); ours return minus the penalty, so that the largest
         output is the answer, as everywhere in the atlas. The 7 x 12 codes are redrawn after figure 3. Classes beyond
         the ten digits get codes of random +-1, the alternative that section II.B names.
         `dims` of 1 or 3 gives LeNet-5 for signals or volumes, which the paper does not have.
         1989 does not print which 8 of the 12 H1 maps an H2 map sees; ours sees two of three groups of four.
Shapes   B batch, C channels, H x W map, K classes.
"""

import math
import random
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.activation import ScaledTanh
from convatlas.blocks.dims import CONVS, layers
from convatlas.network import Network
from convatlas.records import Shape
from convatlas.registry import register

Table = tuple[tuple[int, ...], ...]  # for each output map, the input maps that it sees

# 1998, Table I.
C3_TABLE: Table = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

H2_TABLE: Table = (
    *4 * (tuple(range(0, 8)),),
    *4 * (tuple(range(4, 12)),),
    *4 * ((*range(0, 4), *range(8, 12)),),
)

# 1998, figure 3: stylised digits, 7 wide and 12 high.
DIGIT_CODES = (
    "....... ..###.. .##.##. ##...## ##...## ##...## ##...## ##...## ##...## .##.##. ..###.. .......",
    "....... ...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .###### .......",
    "....... .#####. ##...## .....## .....## ....##. ...##.. ..##... .##.... ##..... ####### .......",
    "....... ####### .....## ....##. ...##.. ..####. .....## .....## .....## ##...## .#####. .......",
    "....... ....##. ...###. ..####. .##.##. ##..##. ##..##. ####### ....##. ....##. ....##. .......",
    "....... ####### ##..... ##..... ##..... #####.. ....##. .....## .....## ##..##. .####.. .......",
    "....... ...###. ..##... .##.... ##..... ##.###. ###..## ##...## ##...## .##..## ..####. .......",
    "....... ####### .....## .....## ....##. ....##. ...##.. ...##.. ..##... ..##... ..##... .......",
    "....... .#####. ##...## ##...## .##.##. ..###.. .##.##. ##...## ##...## ##...## .#####. .......",
    "....... .####.. ##..##. ##...## ##...## ##..### .###.## .....## ....##. ...##.. .###... .......",
)


CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def class_codes(num_classes: int) -> Tensor:
    """The fixed targets of F6, +1 for ink and -1 for paper.  () -> (K, 84)"""
    draw = random.Random(1998)
    codes = [[1.0 if pixel == "#" else -1.0 for pixel in code.replace(" ", "")] for code in DIGIT_CODES[:num_classes]]
    codes += [[draw.choice((-1.0, 1.0)) for _ in range(84)] for _ in range(num_classes - len(codes))]
    return torch.tensor(codes)


def fan_in_uniform_(parameter: Tensor, fan_in: int) -> None:
    """Uniform in +-2.4 / fan-in (1989, "Training"; 1998, section III.C)."""
    nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


class SparseConv2d(nn.Module):
    """Convolution in which each output map sees its own choice of input maps.  (B, C, H, W) -> (B, len(table), H', W')

    Only connected pairs have kernels: `weight` is (pairs, k, k). With `units` = (H', W') every output unit has
    a bias of its own. Pixels outside the image have the value `background`.
    """

    pairs: Tensor

    def __init__(
        self,
        in_channels: int,
        table: Table,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        background: float = 0.0,
        units: tuple[int, ...] | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.table = in_channels, len(table), table
        self.kernel_size, self.stride, self.padding = (kernel_size,) * dims, (stride,) * dims, (padding,) * dims
        self.background = background
        pairs = [target * in_channels + source for target, sources in enumerate(table) for source in sources]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table), *(units or (1,) * dims)))

    def dense_weight(self) -> Tensor:
        """The kernels with zeros where the table has no connection.  () -> (C', C, k, k)"""
        dense = self.weight.new_zeros(self.out_channels * self.in_channels, *self.kernel_size)
        return dense.index_copy(0, self.pairs, self.weight).view(-1, self.in_channels, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = F.pad(x, 2 * self.padding, value=self.background)
        convolve = CONVOLVE[len(self.kernel_size)]
        if self.bias[0].numel() == 1:
            return convolve(x, self.dense_weight(), self.bias.flatten(), self.stride)
        maps = convolve(x, self.dense_weight(), stride=self.stride)
        return maps + self.bias.expand_as(maps)  # a map of one unit would be stretched to the biases' size

    def count(self, output_shape: Shape) -> tuple[int, int]:
        multiply_adds = self.weight.numel() * math.prod(output_shape[1:])
        return multiply_adds + math.prod(output_shape), multiply_adds

    def initialise(self) -> None:
        fan_ins = [len(sources) * math.prod(self.kernel_size) for sources in self.table]
        kernels = self.weight.split([len(sources) for sources in self.table])
        with torch.no_grad():
            for kernel, bias, fan_in in zip(kernels, self.bias, fan_ins, strict=True):
                fan_in_uniform_(kernel, fan_in)
                fan_in_uniform_(bias, fan_in)


class FullConnection(nn.Conv2d):
    """C5, a convolution that becomes a full connection where its kernel covers the map (1998, section II.B).

    As one matrix product it takes half of the convolution's time on a CPU.  (B, C, H, W) -> (B, C', H - 4, W - 4)
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        if input.shape[2:] != self.weight.shape[2:]:
            return super().forward(input)
        return F.linear(input.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


class SubSampling(nn.Module):
    """Sum of each 2 x 2 block, times a coefficient, plus a bias, one pair a map.  (B, C, H, W) -> (B, C, H/2, W/2)"""

    def __init__(self, channels: int, *, dims: int = 2) -> None:
        super().__init__()
        self.kernel_size = self.stride = (2,) * dims
        self.padding = (0,) * dims
        self.coefficient = nn.Parameter(torch.empty(channels, *(1,) * dims))
        self.bias = nn.Parameter(torch.empty(channels, *(1,) * dims))

    def sums(self, x: Tensor) -> Tensor:
        for axis in range(2, x.dim()):  # on a CPU more than twice as fast as average pooling
            first, second = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
            x = first + second
        return x

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.sums(x), self.coefficient)

    def count(self, output_shape: Shape) -> tuple[int, int]:
        units, fan_in = math.prod(output_shape), math.prod(self.kernel_size)
        return (fan_in + 1) * units, fan_in * units

    def initialise(self) -> None:
        fan_in_uniform_(self.coefficient, math.prod(self.kernel_size))
        fan_in_uniform_(self.bias, math.prod(self.kernel_size))


class EuclideanRBF(nn.Module):
    """Minus the squared distance to each class's fixed code (eq. 7).  (B, 84) -> (B, K)

    The number that it counts as multiply-adds is that of squared differences.
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.codes).square().sum(dim=2)

    def count(self, output_shape: Shape) -> tuple[int, int]:
        return self.codes.numel(), self.codes.numel()


class LeNet1989(Network, nn.Sequential):
    """(B, C, 16, 16) in [-1, 1] -> (B, K) squashed; the target is +1 for the class, else -1.

    Training: the squashed outputs (B, K), with half the squared error to these targets.
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        every = 12 * (tuple(range(in_channels)),)
        super().__init__(
            OrderedDict(
                H1=SparseConv2d(
                    in_channels, every, 5, stride=2, padding=2, background=-1.0, units=(8, 8)
                ),  # 12 x 8 x 8
                squash_H1=ScaledTanh(),
                H2=SparseConv2d(12, H2_TABLE, 5, stride=2, padding=2, background=-1, units=(4, 4)),  # 12 x 4 x 4
                squash_H2=ScaledTanh(),
                flatten=nn.Flatten(),  # 192
                H3=nn.Linear(12 * 4 * 4, 30),  # 30
                squash_H3=ScaledTanh(),
                output=nn.Linear(30, num_classes),  # 10
                squash_output=ScaledTanh(),
            )
        )
        _initialise(self)


class LeNet5(Network, nn.Sequential):
    """(B, C, 32, 32) with paper at -0.1 and ink at 1.175 -> (B, K) minus the penalties.

    With `dims` of 1 or 3 the input is a signal or a volume, of 32 along each axis.

    Training: minus the penalties (B, K), with the maximum a posteriori criterion, equation 9.
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1, dims: int = 2) -> None:
        of = layers(dims)
        connect = FullConnection if dims == 2 else of.conv
        super().__init__(
            OrderedDict(
                C1=of.conv(in_channels, 6, 5),  # 6 x 28 x 28
                squash_C1=ScaledTanh(),
                S2=SubSampling(6, dims=dims),  # 6 x 14 x 14
                squash_S2=ScaledTanh(),
                C3=SparseConv2d(6, C3_TABLE, 5, dims=dims),  # 16 x 10 x 10
                squash_C3=ScaledTanh(),
                S4=SubSampling(16, dims=dims),  # 16 x 5 x 5
                squash_S4=ScaledTanh(),
                C5=connect(16, 120, 5),  # 120 x 1 x 1
                squash_C5=ScaledTanh(),
                flatten=nn.Flatten(),  # 120
                F6=nn.Linear(120, 84),  # 84
                squash_F6=ScaledTanh(),
                output=EuclideanRBF(class_codes(num_classes)),  # 10
            )
        )
        _initialise(self)


def _initialise(net: nn.Sequential) -> None:
    for layer in net:
        if isinstance(layer, SparseConv2d | SubSampling):
            layer.initialise()
        elif isinstance(layer, (*CONVS, nn.Linear)):
            for parameter in layer.parameters():
                fan_in_uniform_(parameter, layer.weight[0].numel())


@register(paper="lecun1989", input_shape=(1, 16, 16), num_classes=10)
def lenet_1989(*, num_classes: int = 10, in_channels: int = 1) -> LeNet1989:
    """The zip-code network of 1989: undersampled shared-weight maps with a bias for each unit."""
    return LeNet1989(num_classes=num_classes, in_channels=in_channels)


@register(paper="lecun1998", input_shape=(1, 32, 32), num_classes=10)
def lenet5(*, num_classes: int = 10, in_channels: int = 1, dims: int = 2) -> LeNet5:
    """LeNet-5 as published: C3 table, trainable sub-sampling, scaled tanh, Euclidean RBF output."""
    return LeNet5(num_classes=num_classes, in_channels=in_channels, dims=dims)
