"""Deep, big and simple: fully connected layers alone, trained for long on digits that are bent anew in every pass.

Ciresan, Meier, Gambardella, Schmidhuber, "Deep, Big, Simple Neural Nets for Handwritten Digit Recognition", Neural
Computation 22(12), 2010, arXiv:1003.0358.

Follows  Table 1 for the sizes of the five networks; 29 x 29 inputs; the scaled hyperbolic tangent; weights uniform in
         +-0.05.
Departs  The outputs are the sums before the softmax. The paper's B is 0.6666 where ours is 2/3.
Shapes   B batch, C channels, K classes.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.activation import ScaledTanh
from convatlas.blocks.init import fill_parameters, uniform
from convatlas.network import Network
from convatlas.registry import register

# Table 1: the hidden layers.
HIDDEN: tuple[tuple[int, ...], ...] = (
    (1000, 500),
    (1500, 1000, 500),
    (2000, 1500, 1000, 500),
    (2500, 2000, 1500, 1000, 500),
    9 * (1000,),
)


class DeepMLP(Network, nn.Sequential):
    """(B, C, 29, 29) in [-1, 1] -> (B, K) logits. `hidden` are the sizes of the hidden layers."""

    def __init__(self, hidden: tuple[int, ...], *, num_classes: int = 10, in_channels: int = 1) -> None:
        layers = OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),  # 841
        )
        before = in_channels * 29 * 29
        for number, units in enumerate(hidden, start=1):
            layers[f"fc{number}"] = nn.Linear(before, units)
            layers[f"squash{number}"] = ScaledTanh()
            before = units
        layers[f"fc{len(hidden) + 1}"] = nn.Linear(before, num_classes)
        super().__init__(layers)
        fill_parameters(self, uniform(0.05))


@register(paper="ciresan2010", input_shape=(1, 29, 29), num_classes=10)
def ciresan2010_mlp_1(*, num_classes: int = 10, in_channels: int = 1) -> DeepMLP:
    """Net 1: 1000-500-10, 1.34 million weights."""
    return DeepMLP(HIDDEN[0], num_classes=num_classes, in_channels=in_channels)


@register(paper="ciresan2010", input_shape=(1, 29, 29), num_classes=10)
def ciresan2010_mlp_2(*, num_classes: int = 10, in_channels: int = 1) -> DeepMLP:
    """Net 2: 1500-1000-500-10, 3.26 million weights."""
    return DeepMLP(HIDDEN[1], num_classes=num_classes, in_channels=in_channels)


@register(paper="ciresan2010", input_shape=(1, 29, 29), num_classes=10)
def ciresan2010_mlp_3(*, num_classes: int = 10, in_channels: int = 1) -> DeepMLP:
    """Net 3: 2000-1500-1000-500-10, 6.69 million weights."""
    return DeepMLP(HIDDEN[2], num_classes=num_classes, in_channels=in_channels)


@register(paper="ciresan2010", input_shape=(1, 29, 29), num_classes=10)
def ciresan2010_mlp_4(*, num_classes: int = 10, in_channels: int = 1) -> DeepMLP:
    """Net 4, the best: 2500-2000-1500-1000-500-10, 12.11 million weights."""
    return DeepMLP(HIDDEN[3], num_classes=num_classes, in_channels=in_channels)


@register(paper="ciresan2010", input_shape=(1, 29, 29), num_classes=10)
def ciresan2010_mlp_5(*, num_classes: int = 10, in_channels: int = 1) -> DeepMLP:
    """Net 5, the deepest: nine hidden layers of 1000, 8.86 million weights."""
    return DeepMLP(HIDDEN[4], num_classes=num_classes, in_channels=in_channels)
