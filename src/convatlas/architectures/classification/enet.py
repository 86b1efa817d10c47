"""ENet's encoder as a classifier: a network for street scenes that costs a hundredth of SegNet.

Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation",
arXiv:1606.02147, 2016.

Follows  Table 1 and figure 2, initial to bottleneck 3: 23 blocks down to maps of an eighth of the image. As in
         section 4, the encoder is first trained alone to classify the regions of the image, with a 1x1 convolution
         on top; here the regions' logits are averaged into those of the image.
Departs  The averaging is ours, so that the encoder is a classifier of images. Convolutions with a kernel over 1 that
         normalisation follows have biases, and spatial dropout of 0.01 acts in the stage of bottleneck 1, 0.1
         afterwards, as in the authors' code. Bottleneck 3 has eight blocks, 3.0 to 3.7, which repeat 2.1 to 2.8.
Shapes   B batch, C channels into a block, D out of it, D/4 between, H x W map, K classes.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.blocks.unpool import Switches, SwitchPool2d
from convatlas.errors import UsageError
from convatlas.network import Network
from convatlas.registry import register


def norm(channels: int) -> nn.BatchNorm2d:
    """The authors' batch normalisation.  (B, channels, H, W) -> same"""
    return nn.BatchNorm2d(channels, eps=1e-3)


class Initial(nn.Module):
    """13 filters 3x3 of stride 2 beside the pooled image.  (B, C, H, W) -> (B, 13 + C, H/2, W/2), H and W even"""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = 13 + in_channels
        self.conv = nn.Conv2d(in_channels, 13, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.bn = norm(self.out_channels)
        self.prelu = nn.PReLU(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.bn(torch.cat([self.conv(x), self.pool(x)], 1)))


def _convolution(width: int, dilation: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(conv2=nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation))


def _asymmetric(width: int, length: int) -> OrderedDict[str, nn.Module]:
    half = length // 2
    return OrderedDict(
        conv2a=nn.Conv2d(width, width, (1, length), padding=(0, half), bias=False),
        conv2b=nn.Conv2d(width, width, (length, 1), padding=(half, 0)),
    )


class Bottleneck(nn.Module):
    """1x1 to a quarter, 3x3 (dilated, or asymmetric as 1x5 and 5x1), 1x1 back, beside the input.

    (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self, channels: int, *, dilation: int = 1, asymmetric: int | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        width = channels // 4
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.prelu1 = nn.PReLU(width)
        middle = _convolution(width, dilation) if asymmetric is None else _asymmetric(width, asymmetric)
        for name, layer in middle.items():
            self.add_module(name, layer)
        self.bn2 = norm(width)
        self.prelu2 = nn.PReLU(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = norm(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.prelu_out = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        *extension, prelu_out = self.children()
        y = x
        for layer in extension:
            y = layer(y)
        return prelu_out(x + y)


class DownsamplingBottleneck(nn.Module):
    """The first convolution is 2x2 with stride 2; the other branch is pooled, with zeros for the new channels.

    (B, C, H, W) -> (B, D, H/2, W/2) and the switches of the pooling, with which a decoder unpools.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        width = out_channels // 4
        self.new_channels = out_channels - in_channels
        self.pool = SwitchPool2d()
        self.conv1 = nn.Conv2d(in_channels, width, 2, stride=2, bias=False)
        self.bn1 = norm(width)
        self.prelu1 = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = norm(width)
        self.prelu2 = nn.PReLU(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.dropout = nn.Dropout2d(dropout)
        self.prelu_out = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Switches]:
        pooled, switches = self.pool(x)
        x = self.prelu1(self.bn1(self.conv1(x)))
        x = self.prelu2(self.bn2(self.conv2(x)))
        x = self.dropout(self.bn3(self.conv3(x)))
        return self.prelu_out(x + F.pad(pooled, (0, 0, 0, 0, 0, self.new_channels))), switches


class Stage(nn.Sequential):
    """Bottlenecks `0`, `1`, ..., of which the first halves the map.  (B, C, H, W) -> (B, D, H/2, W/2), switches"""

    def forward(self, x: Tensor) -> tuple[Tensor, Switches]:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, *rest = self
        x, switches = first(x)
        for bottleneck in rest:
            x = bottleneck(x)
        return x, switches


def _eight(channels: int) -> list[Bottleneck]:
    """The blocks of bottleneck 2.1 to 2.8, and of bottleneck 3.  (B, C, H, W) -> (B, C, H, W)"""
    return [
        Bottleneck(channels),
        Bottleneck(channels, dilation=2),
        Bottleneck(channels, asymmetric=5),
        Bottleneck(channels, dilation=4),
        Bottleneck(channels),
        Bottleneck(channels, dilation=8),
        Bottleneck(channels, asymmetric=5),
        Bottleneck(channels, dilation=16),
    ]


class Encoder(Network):
    """The blocks that ENet's classifier and its segmenter share: initial to bottleneck 3.

    Raises:
        UsageError: more than 51 channels, which the first bottleneck would have to cut.
    """

    def __init__(self, *, in_channels: int) -> None:
        super().__init__()
        if in_channels > 51:
            raise UsageError(
                f"in_channels is {in_channels}; expected at most 51 for ENet, whose next stage has 64 maps"
            )
        self.initial = Initial(in_channels)
        first = DownsamplingBottleneck(self.initial.out_channels, 64, dropout=0.01)
        self.bottleneck1 = Stage(first, *(Bottleneck(64, dropout=0.01) for _ in range(4)))
        self.bottleneck2 = Stage(DownsamplingBottleneck(64, 128), *_eight(128))
        self.bottleneck3 = nn.Sequential(*_eight(128))

    def encode(self, x: Tensor) -> tuple[Tensor, tuple[Switches, Switches]]:
        """(B, 128, H/8, W/8) features, and the switches of bottlenecks 1.0 and 2.0."""
        x, switches1 = self.bottleneck1(self.initial(x))
        x, switches2 = self.bottleneck2(x)
        return self.bottleneck3(x), (switches1, switches2)


class ENetEncoder(Encoder):
    """(B, in_channels, 512, 512) -> (B, K) logits; any even size from 8 px on is accepted.

    `encode` gives a decoder what it needs; `classify_regions` the logits of the regions, on which the paper trains
    the encoder alone.

    Raises:
        UsageError: more than 51 channels, which the first bottleneck would have to cut.
    """

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__(in_channels=in_channels)
        self.classifier = nn.Conv2d(128, num_classes, 1)  # 1000 x 64 x 64
        self.pool = nn.AdaptiveAvgPool2d(1)  # 1000 x 1 x 1
        self.flatten = nn.Flatten()  # 1000

    def classify_regions(self, x: Tensor) -> Tensor:
        """(B, K, H/8, W/8) logits."""
        features, _ = self.encode(x)
        return self.classifier(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.flatten(self.pool(self.classify_regions(x)))


@register(paper="paszke2016_enet", input_shape=(3, 512, 512))
def enet_encoder(*, num_classes: int = 1000, in_channels: int = 3) -> ENetEncoder:
    """ENet's encoder with the mean of its regions' logits, as a classifier of images."""
    return ENetEncoder(num_classes=num_classes, in_channels=in_channels)
