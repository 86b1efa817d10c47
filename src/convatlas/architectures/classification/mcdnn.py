"""Multi-column deep neural networks: the same small deep network trained many times, and its opinions averaged.

Ciresan, Meier, Schmidhuber, "Multi-column Deep Neural Networks for Image Classification", CVPR 2012, arXiv:1202.2745.

Follows  Section 4 for the columns: MNIST 20C4-MP2-40C5-MP3-150N-10N on 29 x 29, CIFAR-10
         300C3-MP2-300C2-MP2-300C3-MP2-300C2-MP2-300N-100N-10N on 32 x 32, traffic signs
         100C7-MP2-150C4-MP2-250C4-MP2-300N-43N on 48 x 48. Section 2 for the averaging, and for the widths
         to which digits are normalised. Scaled tanh after every layer but the last; weights uniform in +-0.05.
Departs  CIFAR's third pooling has a 5 x 5 map: we keep the windows that reach over its edge, since the layers after it
         would have nothing left otherwise. Training signs with other contrast is left to the caller.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.activation import ScaledTanh
from convatlas.blocks.init import fill_parameters, uniform
from convatlas.network import Network
from convatlas.registry import register

MNIST_WIDTHS = (10, 12, 14, 16, 18, 20)  # pixels of a digit; the seventh set has the digits as they are


class MNISTColumn(Network, nn.Sequential):
    """(B, C, 29, 29) in [-1, 1] -> (B, K) logits."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__(
            OrderedDict(
                C1=nn.Conv2d(in_channels, 20, 4),  # 20 x 26 x 26
                squash_C1=ScaledTanh(),
                MP2=nn.MaxPool2d(2),  # 20 x 13 x 13
                C3=nn.Conv2d(20, 40, 5),  # 40 x 9 x 9
                squash_C3=ScaledTanh(),
                MP4=nn.MaxPool2d(3),  # 40 x 3 x 3
                flatten=nn.Flatten(),  # 360
                F5=nn.Linear(40 * 3 * 3, 150),  # 150
                squash_F5=ScaledTanh(),
                out=nn.Linear(150, num_classes),  # 10
            )
        )
        fill_parameters(self, uniform(0.05))


class CIFAR10Column(Network, nn.Sequential):
    """(B, C, 32, 32) -> (B, K) logits."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                C1=nn.Conv2d(in_channels, 300, 3),  # 300 x 30 x 30
                squash_C1=ScaledTanh(),
                MP2=nn.MaxPool2d(2),  # 300 x 15 x 15
                C3=nn.Conv2d(300, 300, 2),  # 300 x 14 x 14
                squash_C3=ScaledTanh(),
                MP4=nn.MaxPool2d(2),  # 300 x 7 x 7
                C5=nn.Conv2d(300, 300, 3),  # 300 x 5 x 5
                squash_C5=ScaledTanh(),
                MP6=nn.MaxPool2d(2, ceil_mode=True),  # 300 x 3 x 3
                C7=nn.Conv2d(300, 300, 2),  # 300 x 2 x 2
                squash_C7=ScaledTanh(),
                MP8=nn.MaxPool2d(2),  # 300 x 1 x 1
                flatten=nn.Flatten(),  # 300
                F9=nn.Linear(300, 300),  # 300
                squash_F9=ScaledTanh(),
                F10=nn.Linear(300, 100),  # 100
                squash_F10=ScaledTanh(),
                out=nn.Linear(100, num_classes),  # 10
            )
        )
        fill_parameters(self, uniform(0.05))


class GTSRBColumn(Network, nn.Sequential):
    """(B, C, 48, 48) -> (B, K) logits."""

    def __init__(self, *, num_classes: int = 43, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                C1=nn.Conv2d(in_channels, 100, 7),  # 100 x 42 x 42
                squash_C1=ScaledTanh(),
                MP2=nn.MaxPool2d(2),  # 100 x 21 x 21
                C3=nn.Conv2d(100, 150, 4),  # 150 x 18 x 18
                squash_C3=ScaledTanh(),
                MP4=nn.MaxPool2d(2),  # 150 x 9 x 9
                C5=nn.Conv2d(150, 250, 4),  # 250 x 6 x 6
                squash_C5=ScaledTanh(),
                MP6=nn.MaxPool2d(2),  # 250 x 3 x 3
                flatten=nn.Flatten(),  # 2250
                F7=nn.Linear(250 * 3 * 3, 300),  # 300
                squash_F7=ScaledTanh(),
                out=nn.Linear(300, num_classes),  # 43
            )
        )
        fill_parameters(self, uniform(0.05))


class Columns(nn.Module):
    """The mean of the columns' probabilities, as its logarithm.  (B, C, H, W) -> (B, K)"""

    def __init__(self, columns: Sequence[nn.Module]) -> None:
        super().__init__()
        self.columns = nn.ModuleList(columns)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([column(x).softmax(dim=1) for column in self.columns]).mean(dim=0).log()


def average_columns(nets: Sequence[nn.Module]) -> Columns:
    """One network that answers with the average of several, of which each may normalise its input in its own way.

    Raises:
        ValueError: no networks.
    """
    if not nets:
        raise ValueError("nets is empty; expected at least one column")
    return Columns(nets)


class NormalisedWidth(nn.Module):
    """Stretches each digit to `width` pixels, in the middle of the image.  (B, C, H, W) -> (B, C, H, W)

    A digit is what is brighter than `paper`; an image without any stays as it is. Before a column:
    `nn.Sequential(NormalisedWidth(10), mcdnn_mnist())`.
    """

    def __init__(self, width: int, *, paper: float = -1.0) -> None:
        super().__init__()
        self.width, self.paper = width, paper

    def forward(self, x: Tensor) -> Tensor:
        B, _, H, W = x.shape
        inked = (x > self.paper + 0.5).any(dim=1).any(dim=1)  # (B, W) columns
        left = inked.to(torch.uint8).argmax(dim=1)
        right = W - 1 - inked.flip(1).to(torch.uint8).argmax(dim=1)
        has_ink = inked.any(dim=1)
        scale = torch.where(has_ink, (right - left + 1) / self.width, 1.0)[:, None].to(x)  # of the input by the output
        middle = torch.where(has_ink, (left + right) / 2, (W - 1) / 2)[:, None].to(x)
        source = middle + scale * (torch.arange(W, device=x.device) - (W - 1) / 2)  # (B, W) columns of the input
        rows = (2 * torch.arange(H, device=x.device) + 1).to(x) / H - 1
        across = ((2 * source + 1) / W - 1)[:, None, :].expand(B, H, W)
        grid = torch.stack((across, rows[None, :, None].expand(B, H, W)), dim=3)
        return F.grid_sample(x - self.paper, grid, align_corners=False) + self.paper


@register(paper="ciresan2012", input_shape=(1, 29, 29), num_classes=10)
def mcdnn_mnist(*, num_classes: int = 10, in_channels: int = 1) -> MNISTColumn:
    """One column for MNIST; the paper averages 35, five for each of seven widths of the digits."""
    return MNISTColumn(num_classes=num_classes, in_channels=in_channels)


@register(paper="ciresan2012", input_shape=(3, 32, 32), num_classes=10)
def mcdnn_cifar10(*, num_classes: int = 10, in_channels: int = 3) -> CIFAR10Column:
    """One column for CIFAR-10; the paper averages 8."""
    return CIFAR10Column(num_classes=num_classes, in_channels=in_channels)


@register(paper="ciresan2012", input_shape=(3, 48, 48), num_classes=43)
def mcdnn_gtsrb(*, num_classes: int = 43, in_channels: int = 3) -> GTSRBColumn:
    """One column for traffic signs; the paper averages 25, five for each of five ways to set the contrast."""
    return GTSRBColumn(num_classes=num_classes, in_channels=in_channels)
