"""A2-Net: ResNet-50 with double attention: gather the features of a whole map, then hand them out to each position.

Chen, Kalantidis, Li, Yan, Feng, "A^2-Nets: Double Attention Networks", NIPS 2018, arXiv:1810.11579.

Follows  Section 3 and figure 2: attention maps B gather the features A into N vectors (G = A B^T), and at each
         position attention V hands out a mixture of them (Z = G V). M = N = C/4. ResNet-50 halves the map in its 3x3.
Departs  The authors' network is not among our sources: hence `a2net50_reading`. That two double attention blocks stand
         in Res3 and three in Res4 is recalled; that they follow each second residual block is our reading, as is the
         normalisation after the last 1x1, whose scale starts at 0 so that each block starts as the identity.
Shapes   B batch, C channels into a block, M maps to gather, N attention maps, H x W map, K classes.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convatlas.architectures.classification.resnet import BottleneckStride3x3, ResNet
from convatlas.records import Shape
from convatlas.registry import register


class GatherDistribute(nn.Module):
    """G = A B^T, then Z = G V: two products of matrices, without weights.

    (B, M, H, W), (B, N, HW), (B, N, HW) -> (B, M, H, W)
    """

    def __init__(self, attention_maps: int) -> None:
        super().__init__()
        self.attention_maps = attention_maps

    def forward(self, features: Tensor, gather: Tensor, distribute: Tensor) -> Tensor:
        gathered = features.flatten(2) @ gather.transpose(1, 2)  # B, M, N
        return (gathered @ distribute).view_as(features)

    def count(self, output_shape: Shape) -> tuple[int, int]:
        """(connections, multiply-adds): no weights, but two products of M x N x HW."""
        maps, height, width = output_shape
        return 0, 2 * maps * self.attention_maps * height * width


class DoubleAttention(nn.Module):
    """Gather, distribute, expand, and add to the input.  (B, C, H, W) -> (B, C, H, W)"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // 4
        self.phi_A = nn.Conv2d(channels, width, 1)
        self.theta_B = nn.Conv2d(channels, width, 1)
        self.rho_V = nn.Conv2d(channels, width, 1)
        self.softmax_B = nn.Softmax(dim=2)  # over positions
        self.softmax_V = nn.Softmax(dim=1)  # over attention maps
        self.gather_distribute = GatherDistribute(width)
        self.expand = nn.Conv2d(width, channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        gather = self.softmax_B(self.theta_B(x).flatten(2))  # B, N, HW
        distribute = self.softmax_V(self.rho_V(x).flatten(2))  # B, N, HW
        z = self.gather_distribute(self.phi_A(x), gather, distribute)  # B, M, H, W
        return x + self.bn(self.expand(z))


ATTENTIONS = {3: 2, 4: 3}  # double attention blocks in conv3_x and conv4_x


class A2Net(ResNet):
    """(B, in_channels, 224, 224) -> (B, K) logits; ResNet-50 with double attention in its stages."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(BottleneckStride3x3, (3, 4, 6, 3), num_classes=num_classes, in_channels=in_channels)

    def stage(self, number: int, in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
        """Residual blocks, after each second of which stands a double attention block."""
        blocks = super().stage(number, in_channels, width, depth, stride)
        parts = OrderedDict[str, nn.Module]()
        for index, (name, block) in enumerate(blocks.named_children(), start=1):
            parts[name] = block
            if index % 2 == 0 and index // 2 <= ATTENTIONS.get(number, 0):
                parts[f"attention{number}_{index // 2}"] = DoubleAttention(4 * width)
        return nn.Sequential(parts)

    def initialise(self) -> None:
        """That of the ResNet; double attention starts as the identity."""
        super().initialise()
        for layer in self.modules():
            if isinstance(layer, DoubleAttention):
                nn.init.zeros_(layer.bn.weight)


@register(paper="chen2018_a2net", input_shape=(3, 224, 224), aliases=("a2net50",))
def a2net50_reading(*, num_classes: int = 1000, in_channels: int = 3) -> A2Net:
    """A2-Net: ResNet-50 with five double attention blocks, as we read the paper."""
    return A2Net(num_classes=num_classes, in_channels=in_channels)
