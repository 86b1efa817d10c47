"""LeNet-5: convolution, sub-sampling and a distance to drawn prototypes, trained as one; and its neighbours.

LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998.

Follows  Figure 2 and section II.B; Table I for the connections of C3; equation 9 for the loss (`EuclideanRBF.loss`).
         `caffe_lenet` follows Caffe's examples/mnist/lenet.prototxt, which is not the paper's network.
Departs  The RBF units are printed as penalties (small is good). Ours return minus the penalty, so that the largest
         output is the answer, as everywhere in the atlas. The 7 x 12 bitmaps are redrawn after figure 3, not copied.
         Equation 9 leaves its constant j open; `EuclideanRBF` says what we take.
Shapes   B batch, C maps, H x W map, K classes.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.activation import ScaledTanh
from convatlas.registry import register

# Table I: row = C3 map, entries = the S2 maps that it sees.
C3_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Figure 3: stylised digits, 7 wide and 12 high.
DIGITS = (
    "....... ..###.. .#...#. ##...## ##...## ##...## ##...## ##...## ##...## .#...#. ..###.. .......",
    "....... ...##.. ..###.. .####.. ...##.. ...##.. ...##.. ...##.. ...##.. ...##.. .###### .......",
    "....... .#####. ##...## ##...## .....## ....##. ...##.. ..##... .##.... ##..... ####### .......",
    "....... .#####. ##...## .....## .....## ..####. .....## .....## .....## ##...## .#####. .......",
    "....... ....##. ...###. ..####. .##.##. ##..##. ##..##. ####### ....##. ....##. ....##. .......",
    "....... ####### ##..... ##..... ##..... ######. .....## .....## .....## ##...## .#####. .......",
    "....... ..####. .##.... ##..... ##..... ######. ##...## ##...## ##...## ##...## .#####. .......",
    "....... ####### ##...## .....## ....##. ....##. ...##.. ...##.. ..##... ..##... ..##... .......",
    "....... .#####. ##...## ##...## ##...## .#####. ##...## ##...## ##...## ##...## .#####. .......",
    "....... .#####. ##...## ##...## ##...## .###### .....## .....## .....## ....##. .####.. .......",
)


class SubSampling(nn.Module):
    """Sum of each 2 x 2 block, times a coefficient, plus a bias, one pair per map.  (B, C, H, W) -> (B, C, H/2, W/2)"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))

    def sums(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, divisor_override=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.sums(x), self.coefficient)


class SparseConv2d(nn.Module):
    """Convolution in which each output map sees its own choice of input maps.  (B, C, H, W) -> (B, len(table), H', W')

    Only the kernels of the connected pairs exist as parameters: `weight` is (pairs, k, k).
    """

    def __init__(self, in_channels: int, table: tuple[tuple[int, ...], ...], kernel_size: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.table = in_channels, len(table), table
        self.kernel_size, self.stride, self.padding = (kernel_size, kernel_size), (1, 1), (0, 0)
        pairs = [out * in_channels + source for out, sources in enumerate(table) for source in sources]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))

    pairs: Tensor

    def forward(self, x: Tensor) -> Tensor:
        dense = self.weight.new_zeros(self.out_channels * self.in_channels, *self.kernel_size)
        dense = dense.index_copy(0, self.pairs, self.weight)
        return F.conv2d(x, dense.view(self.out_channels, self.in_channels, *self.kernel_size), self.bias)


class EuclideanRBF(nn.Module):
    """Minus the squared distance to each class's fixed code of +-1.  (B, 84) -> (B, K)"""

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    codes: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.codes).square().sum(dim=2)


class LeNet5(nn.Sequential):
    """(B, 1, 32, 32) -> (B, K) minus the penalties."""

    def __init__(self, num_classes=10, in_channels=1) -> None:
        super().__init__(OrderedDict(
            C1=nn.Conv2d(in_channels, 6, 5),
            squash1=ScaledTanh(),
            S2=SubSampling(6),
            squash2=ScaledTanh(),
            C3=SparseConv2d(6, C3_TABLE, 5),
            squash3=ScaledTanh(),
            S4=SubSampling(16),
            squash4=ScaledTanh(),
            C5=nn.Conv2d(16, 120, 5),
            squash5=ScaledTanh(),
            flatten=nn.Flatten(),
            F6=nn.Linear(120, 84),
            squash6=ScaledTanh(),
            output=EuclideanRBF(torch.tensor([[1. if c=='#' else -1. for c in d.replace(' ','')] for d in DIGITS])),
        ))
        for name, p in self.named_parameters():
            layer = name.split('.')[0]
            fan_in = {"C1":25,"S2":4,"C3":0,"S4":4,"C5":400,"F6":120}[layer]
            if layer == "C3":
                continue
            nn.init.uniform_(p, -2.4/fan_in, 2.4/fan_in)
        i = 0
        for out, src in enumerate(C3_TABLE):
            b = 2.4/(25*len(src))
            with torch.no_grad():
                self.C3.weight[i:i+len(src)].uniform_(-b,b); self.C3.bias[out].uniform_(-b,b)
            i += len(src)
