"""Plain nets: ResNets without their shortcuts, the other half of the experiment on degradation.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.

Follows  Table 1 and figure 3 (middle) for ImageNet, section 4.2 for CIFAR-10. Layers keep the names of the ResNet
         of the same depth, so that `convatlas diff plain34 resnet34` shows the shortcuts and nothing else.
Departs  Table 1 gives no padding for the first max pooling; we pad by 1. Initialisation is He et al. 2015 with the
         fan-in; that paper shows that the fan-out would do as well.
Shapes   B batch, C channels into a block, D its width, H x W map into it, s its stride, n blocks a stage, K classes.
"""

from collections import OrderedDict
from typing import ClassVar

from torch import nn

from convatlas.architectures.classification.cifar_resnet import CifarResNet
from convatlas.architectures.classification.resnet import ResNet
from convatlas.blocks.dims import layers
from convatlas.registry import register


class PlainBlock(nn.Sequential):
    """Two 3x3 convolutions, nothing beside them.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    expansion: ClassVar[int] = 1
    depth: ClassVar[int] = 2

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        of = layers(dims)
        super().__init__(
            OrderedDict(
                conv1=of.conv(in_channels, width, 3, stride=stride, padding=1, bias=False),
                bn1=of.batch_norm(width),
                relu1=nn.ReLU(),
                conv2=of.conv(width, width, 3, padding=1, bias=False),
                bn2=of.batch_norm(width),
                relu2=nn.ReLU(),
            )
        )


class PlainNet(ResNet):
    """(B, in_channels, 224, 224) -> (B, K) logits; a ResNet of plain blocks."""

    def __init__(self, depths: tuple[int, int, int, int], *, num_classes: int, in_channels: int) -> None:
        super().__init__(PlainBlock, depths, num_classes=num_classes, in_channels=in_channels)


class CifarPlainNet(CifarResNet):
    """(B, in_channels, 32, 32) -> (B, K) logits; a CIFAR ResNet of plain blocks. `depth` = 6n + 2."""

    def __init__(self, depth: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__(depth, num_classes=num_classes, in_channels=in_channels, block=PlainBlock)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def plain18(*, num_classes: int = 1000, in_channels: int = 3) -> PlainNet:
    """ResNet-18 without shortcuts."""
    return PlainNet((2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def plain34(*, num_classes: int = 1000, in_channels: int = 3) -> PlainNet:
    """ResNet-34 without shortcuts: worse than plain18, which is the degradation problem."""
    return PlainNet((3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain20(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-20 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(20, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain32(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-32 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(32, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain44(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-44 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(44, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain56(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-56 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(56, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2015_resnet", input_shape=(3, 32, 32), num_classes=10)
def cifar_plain110(*, num_classes: int = 10, in_channels: int = 3) -> CifarPlainNet:
    """ResNet-110 for CIFAR-10 without shortcuts."""
    return CifarPlainNet(110, num_classes=num_classes, in_channels=in_channels)
