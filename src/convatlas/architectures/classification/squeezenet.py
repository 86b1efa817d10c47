"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
<0.5MB model size", arXiv:1602.07360, 2016.

Follows  Table 1 and figure 2: left (`squeezenet_v1_0`), middle (simple bypass) and right (complex bypass).
         `squeezenet_v1_0_caffe_pad1` and `squeezenet_v1_1` follow the authors' release. Layer names are those of
         figure 1 and of the release. Pooling windows that overhang the map are kept, as in Caffe.
Departs  Table 1 gives a 224 px input and a 111 px conv1 map; no unpadded 7x7 filter of stride 2 gives both. We take
         227 px. Table 1 has a 13 px conv10 map; the released network pads conv10 by 1, for 15 px with a border that
         holds nothing but biases. The bypass convolutions of figure 2 (right) are 1x1 with biases; the paper gives no
         more.
Shapes   B batch, C channels, H x W map, S squeeze and E expand width, K classes.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from convatlas.blocks.init import caffe_xavier, initialise
from convatlas.network import Network
from convatlas.registry import register


class Fire(nn.Module):
    """Squeeze with 1x1 filters, then expand with 1x1 and 3x3 side by side.  (B, C, H, W) -> (B, 2E, H, W)"""

    def __init__(self, in_channels: int, *, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(in_channels, squeeze, 1)
        self.relu_squeeze1x1 = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.relu_expand1x1 = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu_expand3x3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu_squeeze1x1(self.squeeze1x1(x))
        return torch.cat([self.relu_expand1x1(self.expand1x1(x)), self.relu_expand3x3(self.expand3x3(x))], 1)


class BypassFire(Fire):
    """A fire module whose input is added to its output; C = 2E.  (B, C, H, W) -> (B, C, H, W)"""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


class ConvBypassFire(Fire):
    """The same with a 1x1 convolution in the bypass, for other numbers of maps.  (B, C, H, W) -> (B, 2E, H, W)"""

    def __init__(self, in_channels: int, *, squeeze: int, expand: int) -> None:
        super().__init__(in_channels, squeeze=squeeze, expand=expand)
        self.bypass_conv = nn.Conv2d(in_channels, 2 * expand, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bypass_conv(x)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class SqueezeNet(Network, nn.Sequential):
    """(B, in_channels, 227, 227) -> (B, K) logits; larger images are accepted too, and smaller ones from 21 px."""

    even: type[Fire] = Fire  # fire2, fire4, fire6 and fire8 change the number of maps
    odd: type[Fire] = Fire  # fire3, fire5, fire7 and fire9 keep it
    conv10_padding = 0

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 7, stride=2),  # 96 x 111 x 111
                relu_conv1=nn.ReLU(),
                pool1=_pool(),  # 96 x 55 x 55
                fire2=self.even(96, squeeze=16, expand=64),  # 128 x 55 x 55
                fire3=self.odd(128, squeeze=16, expand=64),  # 128 x 55 x 55
                fire4=self.even(128, squeeze=32, expand=128),  # 256 x 55 x 55
                pool4=_pool(),  # 256 x 27 x 27
                fire5=self.odd(256, squeeze=32, expand=128),  # 256 x 27 x 27
                fire6=self.even(256, squeeze=48, expand=192),  # 384 x 27 x 27
                fire7=self.odd(384, squeeze=48, expand=192),  # 384 x 27 x 27
                fire8=self.even(384, squeeze=64, expand=256),  # 512 x 27 x 27
                pool8=_pool(),  # 512 x 13 x 13
                fire9=self.odd(512, squeeze=64, expand=256),  # 512 x 13 x 13
                drop9=nn.Dropout(0.5),
                conv10=nn.Conv2d(512, num_classes, 1, padding=self.conv10_padding),  # 1000 x 13 x 13
                relu_conv10=nn.ReLU(),
                pool10=nn.AdaptiveAvgPool2d(1),  # 1000 x 1 x 1
                flatten=nn.Flatten(),  # 1000
            )
        )
        initialise(self, caffe_xavier)
        nn.init.normal_(self.get_parameter("conv10.weight"), std=0.01)


class SqueezeNetReleased(SqueezeNet):
    """As released, with conv10 padded by 1.  (B, in_channels, 227, 227) -> (B, K) logits"""

    conv10_padding = 1


class SqueezeNetSimpleBypass(SqueezeNet):
    """Identities around the fire modules that keep the number of maps.  (B, in_channels, 227, 227) -> (B, K) logits"""

    odd = BypassFire


class SqueezeNetComplexBypass(SqueezeNet):
    """Those, and 1x1 convolutions around the other four.  (B, in_channels, 227, 227) -> (B, K) logits"""

    even = ConvBypassFire
    odd = BypassFire


class SqueezeNetV11(Network, nn.Sequential):
    """Smaller first filters and earlier pooling: 2.4 times less work.  (B, in_channels, 227, 227) -> (B, K) logits

    Larger images are accepted too, and smaller ones from 17 px.
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 64, 3, stride=2),  # 64 x 113 x 113
                relu_conv1=nn.ReLU(),
                pool1=_pool(),  # 64 x 56 x 56
                fire2=Fire(64, squeeze=16, expand=64),  # 128 x 56 x 56
                fire3=Fire(128, squeeze=16, expand=64),  # 128 x 56 x 56
                pool3=_pool(),  # 128 x 28 x 28
                fire4=Fire(128, squeeze=32, expand=128),  # 256 x 28 x 28
                fire5=Fire(256, squeeze=32, expand=128),  # 256 x 28 x 28
                pool5=_pool(),  # 256 x 14 x 14
                fire6=Fire(256, squeeze=48, expand=192),  # 384 x 14 x 14
                fire7=Fire(384, squeeze=48, expand=192),  # 384 x 14 x 14
                fire8=Fire(384, squeeze=64, expand=256),  # 512 x 14 x 14
                fire9=Fire(512, squeeze=64, expand=256),  # 512 x 14 x 14
                drop9=nn.Dropout(0.5),
                conv10=nn.Conv2d(512, num_classes, 1),  # 1000 x 14 x 14
                relu_conv10=nn.ReLU(),
                pool10=nn.AdaptiveAvgPool2d(1),  # 1000 x 1 x 1
                flatten=nn.Flatten(),  # 1000
            )
        )
        initialise(self, caffe_xavier)
        nn.init.normal_(self.get_parameter("conv10.weight"), std=0.01)


@register(paper="iandola2016_squeezenet", input_shape=(3, 227, 227), aliases=("squeezenet", "squeezenet1_0"))
def squeezenet_v1_0(*, num_classes: int = 1000, in_channels: int = 3) -> SqueezeNet:
    """SqueezeNet of table 1."""
    return SqueezeNet(num_classes=num_classes, in_channels=in_channels)


@register(paper="iandola2016_squeezenet", input_shape=(3, 227, 227))
def squeezenet_v1_0_caffe_pad1(*, num_classes: int = 1000, in_channels: int = 3) -> SqueezeNetReleased:
    """SqueezeNet v1.0 as its authors released it for Caffe, with conv10 padded by 1."""
    return SqueezeNetReleased(num_classes=num_classes, in_channels=in_channels)


@register(paper="iandola2016_squeezenet", input_shape=(3, 227, 227))
def squeezenet_v1_0_simple_bypass(*, num_classes: int = 1000, in_channels: int = 3) -> SqueezeNetSimpleBypass:
    """SqueezeNet with simple bypass: identities around fire3, fire5, fire7 and fire9."""
    return SqueezeNetSimpleBypass(num_classes=num_classes, in_channels=in_channels)


@register(paper="iandola2016_squeezenet", input_shape=(3, 227, 227))
def squeezenet_v1_0_complex_bypass(*, num_classes: int = 1000, in_channels: int = 3) -> SqueezeNetComplexBypass:
    """SqueezeNet with complex bypass: 1x1 convolutions around fire2, fire4, fire6 and fire8 as well."""
    return SqueezeNetComplexBypass(num_classes=num_classes, in_channels=in_channels)


@register(paper="iandola2016_squeezenet", input_shape=(3, 227, 227), aliases=("squeezenet1_1",))
def squeezenet_v1_1(*, num_classes: int = 1000, in_channels: int = 3) -> SqueezeNetV11:
    """SqueezeNet v1.1, the authors' later release: 2.4 times less work at the same accuracy."""
    return SqueezeNetV11(num_classes=num_classes, in_channels=in_channels)
