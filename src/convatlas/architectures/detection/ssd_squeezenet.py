"""SSD on SqueezeNet: a detector that learns on a processor, from real ImageNet weights.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and Iandola et al., "SqueezeNet", arXiv:1602.07360, 2016.
Neither paper has this network; the atlas puts one on the other, for people without a GPU.

Follows  SqueezeNet v1.1 up to fire9, layer by layer, so that its weights fit; SSD300's heads, loss and further layers
         behind it. The sizes of the default boxes are those of SSD300 on COCO, whose smallest is 7% of the image
         instead of 10%, since a small network is asked for small things too.
Departs  SqueezeNet pads nothing in its first layers, which moves its maps. So default boxes stand in the middle of what
         their position sees, not at half steps.
Shapes   B batch, C channels, H x W map, N default boxes, K classes without the background.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from convatlas.architectures.classification.squeezenet import SqueezeNetV11
from convatlas.architectures.detection.multibox import DefaultBoxes, L2Norm, MultiBoxDetector
from convatlas.blocks.init import caffe_xavier, initialise
from convatlas.ops.transplant import transplant
from convatlas.registry import register

ROWS = {
    "fire5_norm": DefaultBoxes(21, 45, (2,), step=8, first=7.5),
    "fire9_norm": DefaultBoxes(45, 99, (2, 3), step=16, first=15.5),
    "conv10_2": DefaultBoxes(99, 153, (2, 3), step=32, first=15.5),
    "conv11_2": DefaultBoxes(153, 207, (2, 3), step=64, first=15.5),
    "conv12_2": DefaultBoxes(207, 261, (2,), step=64, first=79.5),
    "conv13_2": DefaultBoxes(261, 315, (2,), step=64, first=143.5),
}
WIDTHS = (256, 512, 256, 256, 128, 128)
ENCODER_END = "fire9"


class SSDSqueezeNet(MultiBoxDetector):
    """(B, in_channels, 300, 300) -> `MultiBoxOutputs` of N = 8,096 default boxes. It starts from a
    trained SqueezeNet v1.1. Larger images are accepted too.
    """

    def __init__(self, *, num_classes: int = 20, in_channels: int = 3) -> None:
        super().__init__(ROWS)
        encoder = SqueezeNetV11(num_classes=1, in_channels=in_channels)
        layers = dict(encoder.named_children())
        self.encoder = tuple(layers)[: list(layers).index(ENCODER_END) + 1]
        for name in self.encoder:
            self.add_module(name, layers[name])
        self.fire5_norm = L2Norm(256, scale=20)  # 256 x 37 x 37
        self.fire9_norm = L2Norm(512, scale=20)  # 512 x 18 x 18
        self.conv10_1 = nn.Conv2d(512, 128, 1)  # 128 x 18 x 18
        self.relu_conv10_1 = nn.ReLU()
        self.conv10_2 = nn.Conv2d(128, 256, 3, stride=2, padding=1)  # 256 x 9 x 9
        self.relu_conv10_2 = nn.ReLU()
        self.conv11_1 = nn.Conv2d(256, 64, 1)  # 64 x 9 x 9
        self.relu_conv11_1 = nn.ReLU()
        self.conv11_2 = nn.Conv2d(64, 256, 3, stride=2, padding=1)  # 256 x 5 x 5
        self.relu_conv11_2 = nn.ReLU()
        self.conv12_1 = nn.Conv2d(256, 64, 1)  # 64 x 5 x 5
        self.relu_conv12_1 = nn.ReLU()
        self.conv12_2 = nn.Conv2d(64, 128, 3)  # 128 x 3 x 3
        self.relu_conv12_2 = nn.ReLU()
        self.conv13_1 = nn.Conv2d(128, 64, 1)  # 64 x 3 x 3
        self.relu_conv13_1 = nn.ReLU()
        self.conv13_2 = nn.Conv2d(64, 128, 3)  # 128 x 1 x 1
        self.relu_conv13_2 = nn.ReLU()
        self.add_heads(WIDTHS, num_classes)
        self.own_layers = tuple(name for name in self._modules if name not in self.encoder)
        initialise([self.get_submodule(name) for name in self.own_layers], caffe_xavier)

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> six maps, (B, C, H, W) each; those of the encoder scaled to the same length everywhere."""
        feature_maps = []
        for name in self.encoder:
            x = self.get_submodule(name)(x)
            if name in ("fire5", "fire9"):
                feature_maps.append(x)
        fire5, fire9 = self.fire5_norm(feature_maps[0]), self.fire9_norm(feature_maps[1])
        maps = [fire5, x := fire9]
        for stage in (10, 11, 12, 13):
            for name in (f"conv{stage}_1", f"relu_conv{stage}_1", f"conv{stage}_2", f"relu_conv{stage}_2"):
                x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the layers of the same names, of SqueezeNet v1.1 all up to fire9; as `transplant`."""
        return transplant(self, tensors)


@register(task="detection", paper="liu2015_ssd", input_shape=(3, 300, 300), num_classes=20)
def ssd300_squeezenet(*, num_classes: int = 20, in_channels: int = 3) -> SSDSqueezeNet:
    """SSD300 on SqueezeNet v1.1: 28 times less work than on VGG-16, for people without a GPU."""
    return SSDSqueezeNet(num_classes=num_classes, in_channels=in_channels)
