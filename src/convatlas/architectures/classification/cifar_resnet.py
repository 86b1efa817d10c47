"""The ResNets for CIFAR-10: one plain recipe from 20 to 1202 layers, without a parameter in any shortcut.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, section 4.2.

Follows  The table of section 4.2: 6n + 2 layers, 16, 32 and 64 filters, shortcut option A throughout.
Departs  Option A pads the new channels with zeros; the paper does not say on which side. We append them, as Torch's
         nn.Padding in fb.resnet.torch does. Some re-implementations pad half on each side: the same network with
         its channels in another order, and `convatlas.weights` brings their weights into ours.
         Initialisation is He et al. 2015 with the fan-in.
         `dims` of 1 or 3 gives the same network for signals or volumes, which the paper does not have.
Shapes   B batch, C channels into a block, D its width, H x W map into it, s its stride, n blocks a stage, K classes.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.dims import CONVS, layers
from convatlas.network import Network
from convatlas.registry import register


class SubsampleAndPad(nn.Module):
    """Shortcut option A: each second pixel, then zeros for the new channels.  (B, C, H, W) -> (B, D, H/s, W/s)

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


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        self.conv1 = of.conv(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = of.batch_norm(width)
        self.relu1 = nn.ReLU()
        self.conv2 = of.conv(width, width, 3, padding=1, bias=False)
        self.bn2 = of.batch_norm(width)
        same = stride == 1 and in_channels == width
        self.shortcut = nn.Identity() if same else SubsampleAndPad(in_channels, width, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu2(residual + self.shortcut(x))


def _stage(in_channels: int, width: int, depth: int, stride: int, dims: int) -> nn.Sequential:
    """Blocks 1 to `depth`, of which the first has the stride.  (B, C, H, W) -> (B, D, H/s, W/s)"""
    blocks = {"1": Block(in_channels, width, stride, dims)}
    blocks |= {str(index): Block(width, width, 1, dims) for index in range(2, depth + 1)}
    return nn.Sequential(OrderedDict(blocks))


class CifarResNet(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; `depth` = 6n + 2. Other picture sizes are accepted too.

    With `dims` of 1 or 3 the input is a signal (B, in_channels, L) or a volume (B, in_channels, D, H, W).
    """

    def __init__(self, depth: int, *, num_classes: int, in_channels: int, dims: int = 2) -> None:
        super().__init__()
        of = layers(dims)
        n = (depth - 2) // 6
        self.conv1 = of.conv(in_channels, 16, 3, padding=1, bias=False)  # 16 x 32 x 32
        self.bn1 = of.batch_norm(16)
        self.relu1 = nn.ReLU()
        self.stage1 = _stage(16, 16, n, stride=1, dims=dims)  # 16 x 32 x 32
        self.stage2 = _stage(16, 32, n, stride=2, dims=dims)  # 32 x 16 x 16
        self.stage3 = _stage(32, 64, n, stride=2, dims=dims)  # 64 x 8 x 8
        self.pool = of.adaptive_avg_pool(1)  # 64 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, num_classes)  # 10
        for layer in self.modules():
            if isinstance(layer, (*CONVS, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.fc(self.flatten(self.pool(x)))


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet20(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-20 for CIFAR-10, shortcut option A."""
    return CifarResNet(20, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet32(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-32 for CIFAR-10, shortcut option A."""
    return CifarResNet(32, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet44(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-44 for CIFAR-10, shortcut option A."""
    return CifarResNet(44, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet56(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-56 for CIFAR-10, shortcut option A."""
    return CifarResNet(56, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet110(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-110 for CIFAR-10, shortcut option A."""
    return CifarResNet(110, num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_resnet1202(*, num_classes: int = 10, in_channels: int = 3, dims: int = 2) -> CifarResNet:
    """ResNet-1202 for CIFAR-10, shortcut option A: more layers than the data can use."""
    return CifarResNet(1202, num_classes=num_classes, in_channels=in_channels, dims=dims)
