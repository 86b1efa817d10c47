"""ENet: segmentation of street scenes in real time, by a deep narrow encoder and a shallow decoder that unpools.

Paszke, Chaurasia, Kim, Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation",
arXiv:1606.02147, 2016.

Follows  Table 1 and figure 2. The encoder is that of `enet_encoder`. In the decoder's upsampling bottlenecks the 3x3 is
         an up-convolution, and the other branch is projected by 1x1 and unpooled by the switches of the encoder. The
         layers' places are those of the authors' code (decoder.lua); a last 2x2 up-convolution gives the classes.
         PReLUs are everywhere, as section 3 says ("all ReLUs in the network") and the authors' released weights have
         them; their decoder.lua has ReLUs in the decoder, which `enet_relu_decoder_512` follows.
Departs  Details of the code that the paper leaves out: no dropout in the decoder, biases in up-convolutions and in
         convolutions with a kernel over 1. Weights start as torch's do by default, which are Torch7's.
Shapes   B batch, C channels into a block, D out of it, D/4 between, H x W map, K classes.
"""

from collections.abc import Callable

from torch import Tensor, nn

from convatlas.architectures.classification.enet import Encoder, norm
from convatlas.blocks.unpool import Switches, SwitchUnpool2d
from convatlas.registry import register

Activation = Callable[[int], nn.Module]  # channels -> layer


def relu(_: int) -> nn.ReLU:
    """(B, C, H, W) -> same"""
    return nn.ReLU()


class DecoderBottleneck(nn.Module):
    """1x1 to a quarter, 3x3, 1x1 back, beside the input.  (B, C, H, W) -> (B, C, H, W)"""

    def __init__(self, channels: int, activation: Activation = nn.PReLU) -> None:
        super().__init__()
        width = channels // 4
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.act1 = activation(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = norm(width)
        self.act2 = activation(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = norm(channels)
        self.act_out = activation(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        return self.act_out(x + self.bn3(self.conv3(y)))


class UpsamplingBottleneck(nn.Module):
    """The 3x3 doubles the map, and so does the unpooling of the projected input.

    (B, C, H, W) and the switches of a pooling of D maps -> (B, D, 2H, 2W)
    """

    def __init__(self, in_channels: int, out_channels: int, activation: Activation = nn.PReLU) -> None:
        super().__init__()
        width = out_channels // 4
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = norm(width)
        self.act1 = activation(width)
        self.deconv = nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1)
        self.bn2 = norm(width)
        self.act2 = activation(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.skip_conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.skip_bn = norm(out_channels)
        self.unpool = SwitchUnpool2d()
        self.act_out = activation(out_channels)

    def forward(self, x: Tensor, switches: Switches) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.deconv(y)))
        y = self.bn3(self.conv3(y))
        return self.act_out(y + self.unpool(self.skip_bn(self.skip_conv(x)), switches))


class UpsamplingStage(nn.Sequential):
    """Bottlenecks `0`, `1`, ..., of which the first doubles the map.  (B, C, H, W), switches -> (B, D, 2H, 2W)"""

    def forward(self, x: Tensor, switches: Switches) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, *rest = self
        x = first(x, switches)
        for bottleneck in rest:
            x = bottleneck(x)
        return x


class ENet(Encoder):
    """(B, in_channels, 512, 512) -> (B, K, 512, 512) logits; any multiples of 8 px are accepted.

    Trained in two stages (section 4): first `enet_encoder` on the regions, then this, which starts from it:
    `blocks.transplant.transplant(net, encoder.state_dict())`.
    """

    decoder_activation: Activation = nn.PReLU

    def __init__(self, *, num_classes: int = 19, in_channels: int = 3) -> None:
        super().__init__(in_channels=in_channels)
        maps, act = self.initial.out_channels, self.decoder_activation
        self.bottleneck4 = UpsamplingStage(
            UpsamplingBottleneck(128, 64, act), DecoderBottleneck(64, act), DecoderBottleneck(64, act)
        )
        self.bottleneck5 = UpsamplingStage(UpsamplingBottleneck(64, maps, act), DecoderBottleneck(maps, act))
        self.fullconv = nn.ConvTranspose2d(maps, num_classes, 2, stride=2)  # 19 x 512 x 512

    def forward(self, x: Tensor) -> Tensor:
        x, (switches1, switches2) = self.encode(x)
        return self.fullconv(self.bottleneck5(self.bottleneck4(x, switches2), switches1))


class ReLUDecoderENet(ENet):
    """The same with ReLUs in the decoder.  (B, in_channels, 512, 512) -> (B, K, 512, 512) logits"""

    decoder_activation = staticmethod(relu)


@register(
    task="segmentation",
    paper="paszke2016_enet",
    input_shape=(3, 512, 512),
    num_classes=19,
    aliases=("enet",),
)
def enet_cityscapes_512(*, num_classes: int = 19, in_channels: int = 3) -> ENet:
    """ENet for the 19 classes of Cityscapes, at the 512 px of table 1."""
    return ENet(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="paszke2016_enet", input_shape=(3, 360, 640), num_classes=19)
def enet_640x360(*, num_classes: int = 19, in_channels: int = 3) -> ENet:
    """The same network at 640 x 360 px, at which the paper counts operations and frames per second."""
    return ENet(num_classes=num_classes, in_channels=in_channels)


@register(task="segmentation", paper="paszke2016_enet", input_shape=(3, 512, 512), num_classes=19)
def enet_relu_decoder_512(*, num_classes: int = 19, in_channels: int = 3) -> ReLUDecoderENet:
    """ENet as the authors' training code builds it, with ReLUs in the decoder."""
    return ReLUDecoderENet(num_classes=num_classes, in_channels=in_channels)
