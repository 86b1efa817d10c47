"""ResNet-18 and 34 with shortcut option A: not one parameter more than the plain networks beside them in table 2.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.

Follows  Table 1, figure 3 (right) and option A of section 3.3, by which table 2 and figure 4 compare: where the number
         of channels changes, each second pixel and zeros for the new channels. `resnet18` and `resnet34` have option B.
Departs  The paper does not say on which side the zeros stand; we append them, as in the ResNets for CIFAR-10. Padding
         and initialisation are those of `resnet18`.
Shapes   B batch, C channels into a block, D its width, H x W feature map into it, s its stride, K classes.
"""

from convatlas.architectures.classification.resnet import BasicBlock, ResNet
from convatlas.blocks.residual import option_a
from convatlas.registry import register


class OptionABlock(BasicBlock):
    """Two 3x3 convolutions beside a shortcut without parameters.  (B, C, H, W) -> (B, D, H/s, W/s)"""

    def __init__(self, in_channels: int, width: int, stride: int, dims: int = 2) -> None:
        super().__init__(in_channels, width, stride, dims)
        self.shortcut = option_a(in_channels, width, stride)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet18_a(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-18, shortcut option A: no parameter in a shortcut."""
    return ResNet(OptionABlock, (2, 2, 2, 2), num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="he2015_resnet", input_shape=(3, 224, 224))
def resnet34_a(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> ResNet:
    """ResNet-34, shortcut option A: no parameter in a shortcut."""
    return ResNet(OptionABlock, (3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels, dims=dims)
