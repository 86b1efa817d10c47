"""The neocognitron: layers of feature cells and of blurring cells in turn, which organise themselves without a teacher.

Fukushima, "Neocognitron: A Self-organizing Neural Network Model for a Mechanism of Pattern Recognition Unaffected by
Shift in Position", Biological Cybernetics 36, 1980.

Follows  Figure 2 and the table of cell numbers: U0, then US and UC three times, 24 planes each. S-cells divide their
         excitation by shunting inhibition, C-cells blur one plane and divide by the mean of all; seed cells learn.
         Equation 2 weighs the inhibition by 2r / (1+r), so that a strongly trained cell is silent below a similarity
         of r / (1+r) to what it learned; the C-cells' output is x / (alpha + x) with alpha = 0.5; r = 4, 1.5, 1.5 and
         q = 1, 16, 16 (all from memory, and from what other programs have).
Departs  - The paper's r part the five drawn digits of its experiment (`neocognitron_1980`), but hands differ more than
           those: every handwritten digit would go to one or two planes. `neocognitron_handwriting` has r = 4, 3, 1.5
           and alpha = 1, and its US3 learns at 4, stricter than it answers (so Fukushima and Tanigawa, "Use of
           different thresholds in learning and recognition", 1996).
         - Each pass of learning belongs to one layer, from the input on, so that no layer learns from one that changes.
         - The paper calls a plane by the digit to which it came to respond. We do so by counting, in the passes after
           the third: a plane belongs to the class with the largest mean response, a class answers by its best plane.
         - The decay of fixed connections with distance, their strength, and the tiny first values are ours.
Shapes   B batch, K planes of a layer, N planes of the layer before it, H x W map.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.network import Network
from convatlas.records import Shape
from convatlas.registry import register

PLANES = 24
DECAY_C, DECAY_D = 0.9, 0.8  # of the connections to V-cells and to C-cells, for each cell of distance
STRENGTH_D = 4.0
FIRST_EXCITATION = 1e-4  # with it, cells that have learned nothing win where all others are silent


def falling_weights(side: int, decay: float, *, total: float | None = None, first: float = 1.0) -> Tensor:
    """`first` x `decay` to the power of the distance from the middle, or scaled to a sum.  () -> (side, side)"""
    middle, places = ((side - 1) / 2,) * 2, range(side)
    powers = [[decay ** math.dist((row, column), middle) for column in places] for row in places]
    scale = first if total is None else total / sum(map(sum, powers))
    return torch.tensor([[scale * power for power in row] for row in powers])


class SCells(nn.Module):
    """Feature cells; those of a plane share their connections.  (B, N, H, W) -> (B, K, H', W')

    Args:
        planes_before: N.
        padding: how far the outermost cells' 5 x 5 areas reach over the edge.
        selectivity: r; a trained cell answers to patterns more similar than r / (1 + r).
        learning_selectivity: r while learning.
        speed: q, the growth of the connections of a seed cell.
        column: side of the columns of cells that compete.
    """

    kernel_size, stride = (5, 5), (1, 1)
    fall: Tensor

    def __init__(
        self,
        planes_before: int,
        *,
        padding: int,
        selectivity: float,
        learning_selectivity: float,
        speed: float,
        column: int,
    ) -> None:
        super().__init__()
        self.padding = (padding, padding)
        self.selectivity, self.learning_selectivity = selectivity, learning_selectivity
        self.speed, self.column = speed, column
        fall = falling_weights(5, DECAY_C, total=1 / planes_before)
        self.register_buffer("fall", fall.expand(1, planes_before, 5, 5), persistent=False)  # c: fixed, sums to 1
        self.excitation = nn.Parameter(torch.empty(PLANES, planes_before, 5, 5), requires_grad=False)  # a
        nn.init.uniform_(self.excitation, 0, FIRST_EXCITATION)
        self.inhibition = nn.Parameter(torch.zeros(PLANES), requires_grad=False)  # b

    def answer(self, x: Tensor, r: float) -> tuple[Tensor, Tensor]:
        """The S-cells' output, and that of the V-cells, the root mean square of what they see (B, 1, H', W')."""
        v = (F.conv2d(x.square(), self.fall, padding=self.padding)).sqrt()
        excited = 1 + F.conv2d(x, self.excitation, padding=self.padding)
        inhibited = 1 + 2 * r / (1 + r) * self.inhibition[:, None, None] * v
        return r * F.relu(excited / inhibited - 1), v

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x, self.selectivity)[0]

    def learn(self, x: Tensor) -> None:
        """Strengthens the seed cells of one pattern, and with each its whole plane.  (1, N, H, W)"""
        s, v = self.answer(x, self.learning_selectivity)
        seen = F.pad(x[0], (*2 * (self.padding[1],), *2 * (self.padding[0],)))
        for plane, row, column in seed_cells(s[0], self.column):
            area = seen[:, row : row + 5, column : column + 5]
            self.excitation[plane] += self.speed * self.fall[0] * area
            self.inhibition[plane] += self.speed / 2 * v[0, 0, row, column]

    def count(self, output_shape: Shape) -> tuple[int, int]:
        """Excitatory connections of S-cells and of V-cells, which the planes share; and one inhibitory to an S-cell."""
        area, places = self.fall.numel(), math.prod(output_shape[1:])
        multiply_adds = (math.prod(output_shape) + places) * area
        return multiply_adds + math.prod(output_shape), multiply_adds


def seed_cells(s: Tensor, column: int) -> list[tuple[int, int, int]]:
    """The cells that win a column, at most one for each plane, as (plane, row, column).  (K, H, W)

    A column holds the cells of all planes whose places are at most `column` // 2 apart from its centre; around every
    place there is one.
    """
    around = column // 2
    strongest = F.max_pool2d(s.amax(dim=0, keepdim=True), column, stride=1, padding=around)  # of each column
    weakest_winner = -F.max_pool2d(-strongest, column, stride=1, padding=around)  # of the columns that hold a place
    best, places = torch.where(s >= weakest_winner, s, 0.0).flatten(1).max(dim=1)
    width = s.shape[2]
    return [
        (plane, place // width, place % width)
        for plane, (strength, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True))
        if strength > 0
    ]


class CCells(nn.Module):
    """Cells that answer wherever in its area the feature stands.  (B, K, H, W) -> (B, K, H', W')

    Each sees one plane; the mean of all planes inhibits it. `padding` is that of the first row; the last has one more
    where the stride is two. `alpha` is where the output is half of its limit.
    """

    fall: Tensor

    def __init__(self, side: int, *, stride: int = 1, padding: int = 0, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.kernel_size, self.stride, self.padding = (side, side), (stride, stride), (padding, padding)
        self.register_buffer(
            "fall", falling_weights(side, DECAY_D, first=STRENGTH_D)[None, None], persistent=False
        )  # d

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.padding[0], self.padding[0] + self.stride[0] - 1
        B, K, H, W = x.shape
        padded = F.pad(x.reshape(B * K, 1, H, W), (before, after, before, after))
        excited = F.conv2d(padded, self.fall, stride=self.stride)
        excited = excited.view(B, K, *excited.shape[2:])
        u = F.relu((1 + excited) / (1 + excited.sum(dim=1).unsqueeze(1) / K) - 1)
        return u / (self.alpha + u)

    def count(self, output_shape: Shape) -> tuple[int, int]:
        multiply_adds = math.prod(output_shape) * self.fall.numel()
        return multiply_adds + math.prod(output_shape), multiply_adds


class NamedPlanes(nn.Module):
    """The response of the best plane of each class, wherever it stands.  (B, K, H, W) -> (B, classes)

    Until they have names, the planes are dealt to the classes in turn.
    """

    names: Tensor
    responses: Tensor
    patterns: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        dealt = [[float(plane % num_classes == label) for label in range(num_classes)] for plane in range(PLANES)]
        self.register_buffer("names", torch.tensor(dealt))  # (K, classes), a one in each row
        self.register_buffer("responses", torch.zeros(PLANES, num_classes), persistent=False)  # sums over a pass
        self.register_buffer("patterns", torch.zeros(num_classes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(2).amax(dim=2).unsqueeze(2) * self.names).amax(dim=1)

    def note(self, x: Tensor, labels: Tensor) -> None:
        """(B, K, H, W), (B,): patterns of known class"""
        self.responses.index_add_(1, labels, x.flatten(2).amax(dim=2).T)
        self.patterns += torch.bincount(labels, minlength=len(self.patterns))

    def name(self) -> None:
        mean = self.responses / self.patterns.clamp_min(1)
        self.names.copy_(F.one_hot(mean.argmax(dim=1), mean.shape[1]))
        self.responses.zero_()
        self.patterns.zero_()


class Constants(NamedTuple):
    """What decides how alike two features are taken to be, for the three stages."""

    selectivity: tuple[float, float, float]  # r
    learning_selectivity: tuple[float, float, float]  # r while learning
    alpha: float  # of the C-cells' saturation


PAPER = Constants((4.0, 1.5, 1.5), (4.0, 1.5, 1.5), 0.5)
HANDWRITING = Constants((4.0, 3.0, 1.5), (4.0, 3.0, 4.0), 1.0)


class Neocognitron(Network):
    """(B, C, 16, 16) with paper at 0 and strokes at 1 -> (B, classes) responses in [0, 1); larger images fit too."""

    passes: Tensor

    def __init__(self, constants: Constants, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        (r1, r2, r3), (t1, t2, t3), alpha = constants.selectivity, constants.learning_selectivity, constants.alpha
        self.US1 = SCells(
            in_channels, padding=2, selectivity=r1, learning_selectivity=t1, speed=1.0, column=5
        )  # 24 x 16 x 16
        self.UC1 = CCells(5, stride=2, padding=3, alpha=alpha)  # 24 x 10 x 10
        self.US2 = SCells(
            PLANES, padding=1, selectivity=r2, learning_selectivity=t2, speed=16.0, column=5
        )  # 24 x 8 x 8
        self.UC2 = CCells(5, stride=2, padding=3, alpha=alpha)  # 24 x 6 x 6
        self.US3 = SCells(
            PLANES, padding=0, selectivity=r3, learning_selectivity=t3, speed=16.0, column=3
        )  # 24 x 2 x 2
        self.UC3 = CCells(2, alpha=alpha)  # 24 x 1 x 1
        self.readout = NamedPlanes(num_classes)  # 10
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))  # that are over

    def stages(self) -> tuple[tuple[SCells, CCells], ...]:
        return (self.US1, self.UC1), (self.US2, self.UC2), (self.US3, self.UC3)

    def forward(self, x: Tensor) -> Tensor:
        u = F.relu(x)  # cells are silent or active, never less
        for s_cells, c_cells in self.stages():
            u = c_cells(s_cells(u))
        return self.readout(u)

    @torch.no_grad()
    def learn(self, images: Tensor, labels: Tensor) -> None:
        """Pass 1 to 3: the seed cells of US1, US2, US3; later: how the planes respond to the classes."""
        u, passes = F.relu(images), int(self.passes)
        for index, (s_cells, c_cells) in enumerate(self.stages()):
            if index == passes:
                for pattern in u.split(1):
                    s_cells.learn(pattern)
                return
            u = c_cells(s_cells(u))
        self.readout.note(u, labels)

    @torch.no_grad()
    def end_pass(self, epoch: int) -> None:
        """Moves on to the next layer; after the third, names the planes."""
        if self.passes >= len(self.stages()):
            self.readout.name()
        self.passes += 1


@register(paper="fukushima1980_neocognitron", input_shape=(1, 16, 16), num_classes=10, aliases=("neocognitron",))
def neocognitron_1980(*, num_classes: int = 10, in_channels: int = 1) -> Neocognitron:
    """The neocognitron: S- and C-cells in three stages, self-organised by winners among columns."""
    return Neocognitron(PAPER, num_classes=num_classes, in_channels=in_channels)


@register(paper="fukushima1980_neocognitron", input_shape=(1, 16, 16), num_classes=10)
def neocognitron_handwriting(*, num_classes: int = 10, in_channels: int = 1) -> Neocognitron:
    """The neocognitron with constants under which handwritten digits part; they are ours, not the paper's."""
    return Neocognitron(HANDWRITING, num_classes=num_classes, in_channels=in_channels)
