"""OverFeat: one network that classifies, localises and detects by sliding over the image at almost no extra cost.

Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun, "OverFeat: Integrated Recognition, Localization and Detection using
Convolutional Networks", arXiv:1312.6229, 2013 (ICLR 2014).

Follows  Tables 1 and 3 for the layers, section 3.3 and figure 3 for the dense evaluation, section 4 for the boxes.
         The tables number the stages; we name the layers of stage n conv<n>, pool<n> and fc<n>.
Departs  Table 1 prints a 24 x 24 input for stage 2, which is the size after conv2: 231 px give 56, pooled 28. The text
         gives 3 x 3 offsets, which belong to the accurate network's last pooling; the fast one pools 2 x 2 and
         has 2 x 2. Padding of conv3 and above makes a window in a larger image differ from the window cut out.
Shapes   B batch, C channels, H x W map, K classes, h x w positions of the sliding window.
"""

from collections import OrderedDict

from torch import Tensor, nn

from convatlas.blocks.init import gaussian, initialise
from convatlas.errors import UsageError
from convatlas.network import Network
from convatlas.ops.sliding import sliding_windows
from convatlas.registry import register


def slide(maps: Tensor, pool: nn.MaxPool2d, head: nn.Module, side: int) -> Tensor:
    """Pools at every offset, lets the head slide over each pooled map, and interleaves the outputs (figure 3).

    (B, C, H, W) unpooled -> (B, outputs, h, w), with h = H - side * z + 1 for a pooling of z x z with stride z.

    Args:
        maps: the unpooled maps before the last pooling.
        pool: non-overlapping pooling, without padding.
        head: (..., C * side * side) -> (..., outputs).
        side: the head's window on the pooled map, in positions.

    Raises:
        UsageError: the maps are smaller than one window.
    """
    z = int(pool.kernel_size) if isinstance(pool.kernel_size, int) else pool.kernel_size[0]
    height, width = (extent - side * z + 1 for extent in maps.shape[2:])
    if min(height, width) < 1:
        seen = " x ".join(map(str, maps.shape[2:]))
        raise UsageError(f"the map before the last pooling is {seen}; expected at least {side * z} x {side * z}")
    offsets = [(dy, dx) for dy in range(min(z, height)) for dx in range(min(z, width))]
    outputs = [head(sliding_windows(pool(maps[:, :, dy:, dx:]), side)) for dy, dx in offsets]  # (B, h/z, w/z, outputs)
    dense = outputs[0].new_empty(len(maps), height, width, outputs[0].shape[-1])
    for (dy, dx), output in zip(offsets, outputs, strict=True):
        dense[:, dy::z, dx::z] = output
    return dense.movedim(-1, 1)


class OverFeat(Network, nn.Sequential):
    """Features, a last pooling, and a classifier on `side` x `side` pooled positions that can slide."""

    last_pool: str
    side: int

    def _parts(self) -> tuple[list[nn.Module], nn.MaxPool2d, nn.Sequential]:
        """The layers before the last pooling, the pooling, and those after `flatten`."""
        names = list(self._modules)
        layers, cut = list(self.children()), names.index(self.last_pool)
        pool = layers[cut]
        assert isinstance(pool, nn.MaxPool2d)
        return layers[:cut], pool, nn.Sequential(*layers[names.index("flatten") + 1 :])

    def unpooled(self, x: Tensor) -> Tensor:
        """The maps before the last pooling.  (B, in_channels, H, W) -> (B, 1024, H', W')"""
        for layer in self._parts()[0]:
            x = layer(x)
        return x

    def dense(self, x: Tensor, head: nn.Module | None = None) -> Tensor:
        """The network at every position of a larger image, as fine as the last pooling's input (section 3.3).

        (B, in_channels, H, W) -> (B, K, h, w): neighbours are 16 (fast) or 12 (accurate) pixels apart.

        Args:
            x: at least as large as the published input.
            head: what slides in the classifier's place, such as a `BoxRegressor`.

        Raises:
            UsageError: the image is too small for one window.
        """
        _, pool, classifier = self._parts()
        return slide(self.unpooled(x), pool, classifier if head is None else head, self.side)


class OverFeatFast(OverFeat):
    """(B, in_channels, 231, 231) -> (B, K) logits (table 1)."""

    last_pool, side = "pool5", 6

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 11, stride=4),  # 96 x 56 x 56
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),  # 96 x 28 x 28
                conv2=nn.Conv2d(96, 256, 5),  # 256 x 24 x 24
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),  # 256 x 12 x 12
                conv3=nn.Conv2d(256, 512, 3, padding=1),  # 512 x 12 x 12
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(512, 1024, 3, padding=1),  # 1024 x 12 x 12
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(1024, 1024, 3, padding=1),  # 1024 x 12 x 12
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(2),  # 1024 x 6 x 6
                flatten=nn.Flatten(),  # 36864
                fc6=nn.Linear(1024 * 6 * 6, 3072),  # 3072
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(3072, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )
        initialise(self, gaussian(0.01))


class OverFeatAccurate(OverFeat):
    """(B, in_channels, 221, 221) -> (B, K) logits (table 3)."""

    last_pool, side = "pool6", 5

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 7, stride=2),  # 96 x 108 x 108
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(3),  # 96 x 36 x 36
                conv2=nn.Conv2d(96, 256, 7),  # 256 x 30 x 30
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),  # 256 x 15 x 15
                conv3=nn.Conv2d(256, 512, 3, padding=1),  # 512 x 15 x 15
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(512, 512, 3, padding=1),  # 512 x 15 x 15
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(512, 1024, 3, padding=1),  # 1024 x 15 x 15
                relu5=nn.ReLU(),
                conv6=nn.Conv2d(1024, 1024, 3, padding=1),  # 1024 x 15 x 15
                relu6=nn.ReLU(),
                pool6=nn.MaxPool2d(3),  # 1024 x 5 x 5
                flatten=nn.Flatten(),  # 25600
                fc7=nn.Linear(1024 * 5 * 5, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, 4096),  # 4096
                relu8=nn.ReLU(),
                drop8=nn.Dropout(0.5),
                fc9=nn.Linear(4096, num_classes),  # 1000
            )
        )
        initialise(self, gaussian(0.01))


class BoxRegressor(nn.Sequential):
    """The edges of one box from a window of the last pooled map (section 4).  (..., C * side * side) -> (..., 4)

    One regressor serves all classes, which the paper found better than one for each. It slides in the classifier's
    place: `net.dense(x, head=BoxRegressor(side=net.side))` gives (B, 4, h, w).
    """

    def __init__(self, *, channels: int = 1024, side: int = 5) -> None:
        super().__init__(
            OrderedDict(
                hidden1=nn.Linear(channels * side * side, 4096),
                relu1=nn.ReLU(),
                hidden2=nn.Linear(4096, 1024),
                relu2=nn.ReLU(),
                edges=nn.Linear(1024, 4),
            )
        )
        initialise(self, gaussian(0.01))


@register(paper="sermanet2013_overfeat", input_shape=(3, 231, 231))
def overfeat_fast(*, num_classes: int = 1000, in_channels: int = 3) -> OverFeatFast:
    """OverFeat's fast network: AlexNet without normalisation or groups, with non-overlapping pools."""
    return OverFeatFast(num_classes=num_classes, in_channels=in_channels)


@register(paper="sermanet2013_overfeat", input_shape=(3, 221, 221))
def overfeat_accurate(*, num_classes: int = 1000, in_channels: int = 3) -> OverFeatAccurate:
    """OverFeat's accurate network: 7x7 filters of stride 2, and one more convolution."""
    return OverFeatAccurate(num_classes=num_classes, in_channels=in_channels)
