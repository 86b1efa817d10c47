"""A2-Net: ResNet-50 with double attention: gather the features of a whole map, then hand them out to each position.

Chen, Kalantidis, Li, Yan, Feng, "A^2-Nets: Double Attention Networks", NIPS 2018, arXiv:1810.11579.

Follows  Section 3 and figure 2: attention maps B gather the features A into N vectors (G = A B^T), and at each
         position attention V hands out a mixture of them (Z = G V). M = N = C/4. ResNet-50 halves the map in its 3x3.
Departs  The authors' network is not among our sources: hence `a2net50_reading`. That two double attention blocks stand
         in Res3 and three in Res4 is recalled; that they follow each second residual block is our reading, as is the
         normalisation after the last 1x1, whose scale starts at 0 so that each block starts as the identity.
Shapes   B batch, C channels into a block, D its width, E = 4D, M maps to gather, N attention maps, H x W map, s
         stride, K classes.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convatlas.network import Network
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


class Bottleneck(nn.Module):
    """1x1 to D, 3x3 with the stride, 1x1 to E, beside a shortcut.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu1(self.bn1(self.conv1(x)))
        residual = self.relu2(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu(residual + self.shortcut(x))


def _stage(number: int, in_channels: int, width: int, depth: int, stride: int, attentions: int) -> nn.Sequential:
    """Residual blocks, after each second of which stands a double attention block.  (B, C, H, W) -> (B, E, H/s, W/s)"""
    parts: dict[str, nn.Module] = {}
    for index in range(1, depth + 1):
        first = index == 1
        parts[f"conv{number}_{index}"] = Bottleneck(in_channels if first else 4 * width, width, stride if first else 1)
        if index % 2 == 0 and index // 2 <= attentions:
            parts[f"attention{number}_{index // 2}"] = DoubleAttention(4 * width)
    return nn.Sequential(OrderedDict(parts))


class A2Net(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller pictures are accepted too."""

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)  # 64 x 56 x 56
        self.conv2_x = _stage(2, 64, 64, depth=3, stride=1, attentions=0)  # 256 x 56 x 56
        self.conv3_x = _stage(3, 256, 128, depth=4, stride=2, attentions=2)  # 512 x 28 x 28
        self.conv4_x = _stage(4, 512, 256, depth=6, stride=2, attentions=3)  # 1024 x 14 x 14
        self.conv5_x = _stage(5, 1024, 512, depth=3, stride=2, attentions=0)  # 2048 x 7 x 7
        self.pool = nn.AdaptiveAvgPool2d(1)  # 2048 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(2048, num_classes)  # 1000
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, DoubleAttention):
                nn.init.zeros_(layer.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        return self.fc(self.flatten(self.pool(x)))


@register(paper="chen2018_a2net", input_shape=(3, 224, 224), aliases=("a2net50",))
def a2net50_reading(*, num_classes: int = 1000, in_channels: int = 3) -> A2Net:
    """A2-Net: ResNet-50 with five double attention blocks, as we read the paper."""
    return A2Net(num_classes=num_classes, in_channels=in_channels)
