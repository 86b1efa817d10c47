"""Pre-activation ResNet: nothing but additions on the way from the input to the classifier.

He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv:1603.05027.

Follows  Figure 4(e): normalisation and ReLU before each convolution. CIFAR-164 and 1001 after the authors'
         resnet-pre-act.lua (stride in the first 1x1, projections where the channels change), ResNet-200 after
         preresnet.lua of fb.resnet.torch (stride in the 3x3, normalisation and ReLU before the max pooling too).
         CIFAR-110 has units of two 3x3 convolutions and shortcut option A.
Departs  The paper shares the first activation with the shortcut in the first unit of the whole network. The authors'
         code does so wherever the channels change; so do we, in all four networks. The paper does not say where
         ResNet-200 strides. Initialisation is the authors' code's: He et al. 2015 with the fan-out, and Torch7's
         uniform +-1/sqrt(fan-in) for fc with a bias of 0.
Shapes   B batch, C channels into a unit, D its width, E = 4D, H x W map into it, s its stride, K classes.
"""

from torch import Tensor, nn

from convatlas.blocks.init import initialise_as_fb_resnet
from convatlas.blocks.residual import Residual, SubsampleAndPad, stage
from convatlas.network import Network
from convatlas.registry import register


class PreActBlock(Residual):
    """Two 3x3 convolutions, each after BN and ReLU; shortcut option A.  (B, C, H, W) -> (B, D, H/s, W/s)

    With `shared` the shortcut starts after the first activation: by default where the channels change.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.shared = in_channels != width
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = SubsampleAndPad(in_channels, width, stride) if self.shared else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        residual = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        return residual + self.shortcut(activated if self.shared else x)


class PreActBottleneck(Residual):
    """1x1 to D, 3x3, 1x1 to E, each after BN and ReLU, beside a shortcut.  (B, C, H, W) -> (B, E, H/s, W/s)

    Where the channels change, the shortcut is a 1x1 convolution of the activated input.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        first, second = self.strides(stride)
        out_channels = width * self.expansion
        self.shared = in_channels != out_channels
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride=first, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu3 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        self.shortcut = projection if self.shared else nn.Identity()

    @staticmethod
    def strides(stride: int) -> tuple[int, int]:
        """The strides of the first 1x1 and of the 3x3."""
        return stride, 1

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        residual = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        residual = self.conv3(self.relu3(self.bn3(residual)))
        return residual + self.shortcut(activated if self.shared else x)


class PreActBottleneckStride3x3(PreActBottleneck):
    """The same with the stride in the 3x3, so that no pixel is skipped.  (B, C, H, W) -> (B, E, H/s, W/s)"""

    @staticmethod
    def strides(stride: int) -> tuple[int, int]:
        return 1, stride


Unit = type[PreActBlock] | type[PreActBottleneck]


def _stage(prefix: str, unit: Unit, in_channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Units `prefix`1 to `prefix``depth`.  (B, C, H, W) -> (B, D or E, H/s, W/s)"""
    return stage(prefix, lambda c, s: unit(c, width, s), (in_channels, width * unit.expansion), depth, stride)


class CifarPreResNet(Network):
    """(B, in_channels, 32, 32) -> (B, K) logits; `n` units a stage. Other image sizes are accepted too."""

    def __init__(self, unit: Unit, n: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        expansion = unit.expansion
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)  # 16 x 32 x 32
        # The shapes are those of ResNet-110; bottlenecks have four times the channels.
        self.stage1 = _stage("", unit, 16, 16, n, stride=1)  # 16 x 32 x 32
        self.stage2 = _stage("", unit, 16 * expansion, 32, n, stride=2)  # 32 x 16 x 16
        self.stage3 = _stage("", unit, 32 * expansion, 64, n, stride=2)  # 64 x 8 x 8
        self.bn_final = nn.BatchNorm2d(64 * expansion)
        self.relu_final = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)  # 64 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64 * expansion, num_classes)  # 10
        first = self.stage1.get_submodule("1")
        assert isinstance(first, PreActBlock | PreActBottleneck)
        first.shared = True  # also where its channels stay
        initialise_as_fb_resnet(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.conv1(x))))
        return self.fc(self.flatten(self.pool(self.relu_final(self.bn_final(x)))))


class PreResNet(Network):
    """(B, in_channels, 224, 224) -> (B, K) logits; larger and smaller images are accepted too.

    `depths` is the number of units in conv2_x, conv3_x, conv4_x and conv5_x.
    """

    def __init__(self, depths: tuple[int, int, int, int], *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        unit = PreActBottleneckStride3x3
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)  # 64 x 112 x 112
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)  # 64 x 56 x 56
        self.conv2_x = _stage("conv2_", unit, 64, 64, depths[0], stride=1)  # 256 x 56 x 56
        self.conv3_x = _stage("conv3_", unit, 256, 128, depths[1], stride=2)  # 512 x 28 x 28
        self.conv4_x = _stage("conv4_", unit, 512, 256, depths[2], stride=2)  # 1024 x 14 x 14
        self.conv5_x = _stage("conv5_", unit, 1024, 512, depths[3], stride=2)  # 2048 x 7 x 7
        self.bn_final = nn.BatchNorm2d(2048)
        self.relu_final = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)  # 2048 x 1 x 1
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(2048, num_classes)  # 1000
        initialise_as_fb_resnet(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.bn1(self.conv1(x))))
        x = self.conv5_x(self.conv4_x(self.conv3_x(self.conv2_x(x))))
        return self.fc(self.flatten(self.pool(self.relu_final(self.bn_final(x)))))


@register(paper="he2016_preact", input_shape=(3, 32, 32), num_classes=10)
def cifar_preresnet110(*, num_classes: int = 10, in_channels: int = 3) -> CifarPreResNet:
    """Pre-activation ResNet-110 for CIFAR-10, shortcut option A."""
    return CifarPreResNet(PreActBlock, 18, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2016_preact", input_shape=(3, 32, 32), num_classes=10)
def cifar_preresnet164(*, num_classes: int = 10, in_channels: int = 3) -> CifarPreResNet:
    """Pre-activation ResNet-164 for CIFAR-10, bottlenecks."""
    return CifarPreResNet(PreActBottleneck, 18, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2016_preact", input_shape=(3, 32, 32), num_classes=10)
def cifar_preresnet1001(*, num_classes: int = 10, in_channels: int = 3) -> CifarPreResNet:
    """Pre-activation ResNet-1001 for CIFAR-10, bottlenecks: a thousand layers that train."""
    return CifarPreResNet(PreActBottleneck, 111, num_classes=num_classes, in_channels=in_channels)


@register(paper="he2016_preact", input_shape=(3, 224, 224))
def preresnet200(*, num_classes: int = 1000, in_channels: int = 3) -> PreResNet:
    """Pre-activation ResNet-200, shortcut option B."""
    return PreResNet((3, 24, 36, 3), num_classes=num_classes, in_channels=in_channels)
