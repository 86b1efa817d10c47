"""The perceptron: a machine that learned to tell patterns apart from its mistakes, without any programme for them.

Rosenblatt, "The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain", Psychological
Review 65(6), 1958. The convergence of the rule: Novikoff 1962.

Follows  The three layers: sensory units that are on or off, association units with fixed random connections of +1 and
         -1 and a threshold, response units whose connections alone learn. The sizes are those of the Mark I machine:
         20 x 20 photocells and 512 A-units.
Departs  The paper fixes no sizes. The Mark I had 8 response units; ours has one for each class, and the one with the
         largest sum answers. 20 connections to an A-unit and a threshold of 1 are ours, in the range that was built.
         The rule is the error correction that Rosenblatt settled on, without a learning rate: with weights that start
         at zero, it scales every sum alike.
Shapes   B batch, C channels, H x W retina, A association units, K classes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.network import Network
from convatlas.records import Shape
from convatlas.registry import register

RETINA = (20, 20)
A_UNITS = 512
CONNECTIONS = 20  # to each A-unit
THRESHOLD = 1.0


class AssociationLayer(nn.Module):
    """A-units: 1 where the excitation, less the inhibition, reaches the threshold, else 0.  (B, C, H, W) -> (B, A)

    An S-unit is on where the input is positive: brighter than the average if the input is normalised. `connections` is
    drawn once, from torch's generator, and never learns.
    """

    connections: Tensor

    def __init__(self, s_units: int, a_units: int, *, connections: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.fan_in = min(connections, s_units)
        origins = torch.rand(a_units, s_units, device="cpu").argsort(dim=1)[:, : self.fan_in]
        signs = 2.0 * torch.randint(0, 2, (a_units, self.fan_in), device="cpu") - 1
        drawn = torch.zeros(a_units, s_units, device="cpu").scatter(1, origins, signs)
        self.register_buffer("connections", torch.empty(a_units, s_units).copy_(drawn))  # (A, S)

    def forward(self, x: Tensor) -> Tensor:
        on = (x.flatten(1) > 0).to(self.connections.dtype)  # (B, S)
        return (F.linear(on, self.connections) >= self.threshold).to(x.dtype)

    def count(self, output_shape: Shape) -> tuple[int, int]:
        connections = math.prod(output_shape) * self.fan_in
        return connections, connections


class Perceptron(Network):
    """(B, C, 20, 20) -> (B, K) sums of the response units, whose own answer is the sign."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        s_units = in_channels * math.prod(RETINA)
        self.A = AssociationLayer(s_units, A_UNITS, connections=CONNECTIONS, threshold=THRESHOLD)  # 512
        self.R = nn.Linear(A_UNITS, num_classes, bias=False)  # 10
        nn.init.zeros_(self.R.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.R(self.A(x))

    @torch.no_grad()
    def learn(self, images: Tensor, labels: Tensor) -> None:
        """The error-correction rule, one pattern after another.  (B, C, 20, 20), (B,)"""
        targets = torch.full((len(labels), self.R.out_features), -1.0, device=images.device)
        targets[torch.arange(len(labels)), labels] = 1.0
        for active, target in zip(self.A(images), targets, strict=True):
            correct_errors(self.R.weight, active, target)

    def end_pass(self, epoch: int) -> None:
        """Nothing: all that is learned is learned from single patterns."""


def correct_errors(weight: Tensor, active: Tensor, target: Tensor) -> Tensor:
    """Adds the pattern to each response unit that wrongly said -1, and takes it from each that wrongly said +1.

    A sum of zero is an error whatever the target.  weight (K, A), changed in place; active (A,); target (K,) of +-1
    -> (K,) whether the unit was wrong.
    """
    wrong = (weight @ active) * target <= 0
    weight.addr_(wrong * target, active)
    return wrong


@register(paper="rosenblatt1958_perceptron", input_shape=(1, 20, 20), num_classes=10, aliases=("mark1_perceptron",))
def perceptron(*, num_classes: int = 10, in_channels: int = 1) -> Perceptron:
    """Rosenblatt's perceptron with the sizes of the Mark I: random A-units, error correction in the R-units."""
    return Perceptron(num_classes=num_classes, in_channels=in_channels)
