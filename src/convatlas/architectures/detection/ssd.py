"""SSD: all boxes of all sizes in one pass, from maps of several resolutions.

Liu, Anguelov, Erhan, Szegedy, Reed, Fu, Berg, "SSD: Single Shot MultiBox Detector", ECCV 2016, arXiv:1512.02325.

Follows  Figure 2 and section 3 with examples/ssd/ssd_pascal.py and ssd_pascal_512.py of the authors' release: VGG-16
         whose fc6 and fc7 became convolutions, conv4_3 scaled to length 20, default boxes without clipping. Layer names
         are the release's; the paper's conv8_2 to conv11_2 are conv6_2 to conv9_2 here. Pooling windows that overhang
         the map are kept, as in Caffe.
Departs  Nothing known.
Shapes   B batch, C channels, H x W map, N default boxes, K classes without the background.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from convatlas.architectures.classification.vgg import COLUMNS, WIDTHS
from convatlas.architectures.detection.multibox import DefaultBoxes, L2Norm, MultiBoxDetector
from convatlas.blocks.init import caffe_xavier, initialise
from convatlas.ops.transplant import transplant
from convatlas.registry import register

# For each layer behind fc7: filters, size, stride, padding.
Layer = tuple[int, int, int, int]

EXTRA_300: Mapping[str, Layer] = {
    "conv6_1": (256, 1, 1, 0),
    "conv6_2": (512, 3, 2, 1),
    "conv7_1": (128, 1, 1, 0),
    "conv7_2": (256, 3, 2, 1),
    "conv8_1": (128, 1, 1, 0),
    "conv8_2": (256, 3, 1, 0),
    "conv9_1": (128, 1, 1, 0),
    "conv9_2": (256, 3, 1, 0),
}
EXTRA_512: Mapping[str, Layer] = {
    **EXTRA_300,
    "conv8_2": (256, 3, 2, 1),
    "conv9_2": (256, 3, 2, 1),
    "conv10_1": (128, 1, 1, 0),
    "conv10_2": (256, 4, 1, 1),
}
ROWS_300 = {
    "conv4_3_norm": DefaultBoxes(30, 60, (2,), step=8),
    "fc7": DefaultBoxes(60, 111, (2, 3), step=16),
    "conv6_2": DefaultBoxes(111, 162, (2, 3), step=32),
    "conv7_2": DefaultBoxes(162, 213, (2, 3), step=64),
    "conv8_2": DefaultBoxes(213, 264, (2,), step=100),
    "conv9_2": DefaultBoxes(264, 315, (2,), step=300),
}
ROWS_512 = {
    "conv4_3_norm": DefaultBoxes(35.84, 76.8, (2,), step=8),
    "fc7": DefaultBoxes(76.8, 153.6, (2, 3), step=16),
    "conv6_2": DefaultBoxes(153.6, 230.4, (2, 3), step=32),
    "conv7_2": DefaultBoxes(230.4, 307.2, (2, 3), step=64),
    "conv8_2": DefaultBoxes(307.2, 384, (2, 3), step=128),
    "conv9_2": DefaultBoxes(384, 460.8, (2,), step=256),
    "conv10_2": DefaultBoxes(460.8, 537.6, (2,), step=512),
}


class SSD(MultiBoxDetector):
    """(B, in_channels, H, W) -> `MultiBoxOutputs` of N default boxes. It starts from a trained VGG-16 (D).

    Args:
        extra: the layers behind fc7.
        rows: the default boxes of each map that has heads.
        num_classes: K.
        in_channels: of the input.
    """

    def __init__(
        self, extra: Mapping[str, Layer], rows: Mapping[str, DefaultBoxes], *, num_classes: int, in_channels: int
    ) -> None:
        super().__init__(rows)
        widths: dict[str, int] = {}
        channels = in_channels
        for block, (column, width) in enumerate(zip(COLUMNS["D"], WIDTHS, strict=True), start=1):
            for place in range(1, len(column) + 1):
                self.add_module(f"conv{block}_{place}", nn.Conv2d(channels, width, 3, padding=1))
                self.add_module(f"relu{block}_{place}", nn.ReLU())
                channels = width
            pool = nn.MaxPool2d(2, ceil_mode=True) if block < 5 else nn.MaxPool2d(3, stride=1, padding=1)
            self.add_module(f"pool{block}", pool)
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6)  # 1024 x 19 x 19
        self.relu6 = nn.ReLU()
        self.fc7 = nn.Conv2d(1024, 1024, 1)  # 1024 x 19 x 19
        self.relu7 = nn.ReLU()
        channels = 1024
        for name, (width, kernel, stride, padding) in extra.items():
            self.add_module(name, nn.Conv2d(channels, width, kernel, stride, padding))
            self.add_module(f"{name}_relu", nn.ReLU())
            widths[name] = channels = width
        self.trunk = tuple(self._modules)
        self.conv4_3_norm = L2Norm(512, scale=20)  # 512 x 38 x 38
        widths |= {"conv4_3_norm": 512, "fc7": 1024}
        self.add_heads([widths[name] for name in rows], num_classes)
        self.own_layers = tuple(name for name in self._modules if name not in self.trunk or name in extra)
        initialise(self.children(), caffe_xavier)

    def maps(self, x: Tensor) -> list[Tensor]:
        """After the ReLU of each map's convolution; conv4_3's scaled.  (B, C, H, W) -> six or seven (B, C, H, W)"""
        ends = {"relu4_3", "relu7", *(f"{name}_relu" for name in self.rows)}
        feature_maps = []
        for name in self.trunk:
            x = self.get_submodule(name)(x)
            if name in ends:
                feature_maps.append(x)
        return [self.conv4_3_norm(feature_maps[0]), *feature_maps[1:]]

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Copies the layers of the same names; of VGG-16's fc6 and fc7 every fourth unit, at every third position.

        Returns and raises as `transplant`.
        """
        taken = dict(tensors)
        if "fc6.weight" in taken and taken["fc6.weight"].numel() == 4096 * 512 * 7 * 7:
            taken["fc6.weight"] = taken["fc6.weight"].view(4096, 512, 7, 7)[::4, :, ::3, ::3].contiguous()
            taken["fc7.weight"] = taken["fc7.weight"].view(4096, 4096)[::4, ::4].contiguous()
            taken |= {f"{name}.bias": taken[f"{name}.bias"][::4] for name in ("fc6", "fc7")}
        return transplant(self, taken)


@register(task="detection", paper="liu2015_ssd", input_shape=(3, 300, 300), num_classes=20, aliases=("ssd300_vgg16",))
def ssd300(*, num_classes: int = 20, in_channels: int = 3) -> SSD:
    """SSD300: 8,732 default boxes on six maps behind VGG-16, for images of 300 pixels."""
    return SSD(EXTRA_300, ROWS_300, num_classes=num_classes, in_channels=in_channels)


@register(task="detection", paper="liu2015_ssd", input_shape=(3, 512, 512), num_classes=20, aliases=("ssd512_vgg16",))
def ssd512(*, num_classes: int = 20, in_channels: int = 3) -> SSD:
    """SSD512: 24,564 default boxes on seven maps, for images of 512 pixels."""
    return SSD(EXTRA_512, ROWS_512, num_classes=num_classes, in_channels=in_channels)
