"""Highway networks: gates that learn how much of a layer's input goes past it.

Srivastava, Greff, Schmidhuber, "Training Very Deep Networks", NIPS 2015, arXiv:1507.06228 (and "Highway Networks",
arXiv:1505.00387).

Follows  Equation 3, y = H(x) T(x) + x (1 - T(x)), with 3x3 convolutions for both, ReLU for H and the logistic
         function for T; the 19 layers of the authors' cifar10_network.prototxt, its dropout of 0.2 and its biases
         of -2 in the gates. Plain convolutions change the width, since a highway layer can't.
Departs  The released classifier has 100 outputs for CIFAR-10 too; ours has one a class. The release's own "xavier"
         filler is normal with a variance of 2 / fan-in, which we take. It gives conv1 0.05 as the `value` of a normal
         filler, which Caffe does not read (it draws with a deviation of 1, on pixels of unknown scale); we take it as
         the deviation.
         The widths of the 32-layer net are not published: 18, 44 and 72 maps, nearly in the ratio of the 19-layer
         net's 32, 80 and 128, and nine highway layers a stage give the 1.25 M parameters that the paper prints.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convatlas.blocks.init import gaussian, he_normal, initialise
from convatlas.network import Network
from convatlas.registry import register

GATE_BIAS = -2.0  # the gates start nearly closed, so that the input gets through


class HighwayLayer(nn.Module):
    """H(x) where the gate is open, x where it is closed.  (B, C, H, W) -> (B, C, H, W)"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.H = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()
        self.T = nn.Conv2d(channels, channels, 3, padding=1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        transform, gate = self.relu(self.H(x)), self.sigmoid(self.T(x))
        return transform * gate + x * (1 - gate)


def _highways(first: int, last: int, channels: int) -> dict[str, nn.Module]:
    """highway`first` to highway`last`.  (B, C, H, W) -> (B, C, H, W)"""
    return {f"highway{number}": HighwayLayer(channels) for number in range(first, last + 1)}


def _initialise(net: nn.Module) -> None:
    """He et al.'s, with N(0, 0.05) at both ends; gates start nearly closed."""
    initialise(net, he_normal(), fully_connected=gaussian(0.05))
    for layer in net.modules():
        if isinstance(layer, HighwayLayer) and layer.T.bias is not None:
            nn.init.constant_(layer.T.bias, GATE_BIAS)
    nn.init.normal_(net.get_parameter("conv1.weight"), std=0.05)


class Highway19(Network, nn.Sequential):
    """(B, in_channels, 32, 32) -> (B, K) logits; larger images, and smaller ones from 4 x 4, are accepted too."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        layers = OrderedDict[str, nn.Module](
            drop1=nn.Dropout(0.2),
            conv1=nn.Conv2d(in_channels, 32, 3, padding=1),  # 32 x 32 x 32
            relu1=nn.ReLU(),
            **_highways(2, 5, 32),
            pool1=nn.MaxPool2d(2, stride=2),  # 32 x 16 x 16
            drop2=nn.Dropout(0.2),
            conv6=nn.Conv2d(32, 80, 3, padding=1),  # 80 x 16 x 16
            relu6=nn.ReLU(),
            **_highways(7, 11, 80),
            pool2=nn.MaxPool2d(2, stride=2),  # 80 x 8 x 8
            drop3=nn.Dropout(0.2),
            conv12=nn.Conv2d(80, 128, 3, padding=1),  # 128 x 8 x 8
            relu12=nn.ReLU(),
            **_highways(13, 17, 128),
            conv18=nn.Conv2d(128, 100, 1),  # 100 x 8 x 8
            relu18=nn.ReLU(),
            pool3=nn.AdaptiveAvgPool2d(1),  # 100 x 1 x 1
            drop4=nn.Dropout(0.2),
            flatten=nn.Flatten(),
            ip2=nn.Linear(100, num_classes),  # 10
        )
        super().__init__(layers)
        _initialise(self)


class Highway32(Network, nn.Sequential):
    """(B, in_channels, 32, 32) -> (B, K) logits; larger images, and smaller ones from 4 x 4, are accepted too."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        layers = OrderedDict[str, nn.Module](
            drop1=nn.Dropout(0.2),
            conv1=nn.Conv2d(in_channels, 18, 3, padding=1),  # 18 x 32 x 32
            relu1=nn.ReLU(),
            **_highways(2, 10, 18),
            pool1=nn.MaxPool2d(2, stride=2),  # 18 x 16 x 16
            drop2=nn.Dropout(0.2),
            conv11=nn.Conv2d(18, 44, 3, padding=1),  # 44 x 16 x 16
            relu11=nn.ReLU(),
            **_highways(12, 20, 44),
            pool2=nn.MaxPool2d(2, stride=2),  # 44 x 8 x 8
            drop3=nn.Dropout(0.2),
            conv21=nn.Conv2d(44, 72, 3, padding=1),  # 72 x 8 x 8
            relu21=nn.ReLU(),
            **_highways(22, 30, 72),
            conv31=nn.Conv2d(72, 100, 1),  # 100 x 8 x 8
            relu31=nn.ReLU(),
            pool3=nn.AdaptiveAvgPool2d(1),  # 100 x 1 x 1
            drop4=nn.Dropout(0.2),
            flatten=nn.Flatten(),
            ip2=nn.Linear(100, num_classes),  # 10
        )
        super().__init__(layers)
        _initialise(self)


@register(paper="srivastava2015_highway", input_shape=(3, 32, 32), num_classes=10)
def highway19_cifar10(*, num_classes: int = 10, in_channels: int = 3) -> Highway19:
    """Highway network of 19 layers for CIFAR-10 ("Highway 2")."""
    return Highway19(num_classes=num_classes, in_channels=in_channels)


@register(paper="srivastava2015_highway", input_shape=(3, 32, 32), num_classes=10)
def highway32_cifar10(*, num_classes: int = 10, in_channels: int = 3) -> Highway32:
    """Highway network of 32 thin layers for CIFAR-10 ("Highway 4"), widths chosen by us."""
    return Highway32(num_classes=num_classes, in_channels=in_channels)
