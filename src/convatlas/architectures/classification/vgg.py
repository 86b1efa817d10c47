"""VGG: depth out of 3x3 filters alone, from 11 to 19 layers.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556, 2014
(ICLR 2015).

Follows  Table 1, one row of `COLUMNS` for each of its columns. Section 3.1 for the initialisation: net A is drawn at
         random and trained, the others start from it (`start_from`). Section 3.2 for the dense evaluation. Layer names
         are those of the authors' Caffe release.
Departs  "The first four convolutional layers" of A go to the layers of the same block and place, as the shapes demand:
         the second layer of B has 64 input maps, that of A is conv2_1 with 64 to 128. "10^-2 variance" is taken at its
         word, though logits then begin near 10^5 or above, where the printed learning rate diverges.
Shapes   B batch, C channels, H x W map (or its 1-D or 3-D kin), K classes, h x w positions of the sliding window.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from convatlas.blocks.dims import layers
from convatlas.blocks.init import gaussian, initialise
from convatlas.errors import UsageError
from convatlas.network import Network
from convatlas.ops.sliding import sliding_windows
from convatlas.registry import register

# Table 1: for each of the five blocks the filter sizes from the input on.
Column = tuple[tuple[int | Literal["lrn"], ...], ...]

WIDTHS = (64, 128, 256, 512, 512)
COLUMNS: dict[str, Column] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3, "lrn"), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}

FROM_A = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")


def blocks(column: Column, in_channels: int, dims: int) -> "OrderedDict[str, nn.Module]":
    """conv1_1, relu1_1, ..., pool5.  (B, in_channels, H, W) -> (B, 512, H / 32, W / 32)"""
    of = layers(dims)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for block, (rows, width) in enumerate(zip(column, WIDTHS, strict=True), start=1):
        for place, row in enumerate(rows, start=1):
            if row == "lrn":
                # Krizhevsky's constants; torch divides alpha by the 5 neighbours.
                modules["lrn"] = nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)
                continue
            modules[f"conv{block}_{place}"] = of.conv(channels, width, row, padding=row // 2)
            modules[f"relu{block}_{place}"] = nn.ReLU()
            channels = width
        modules[f"pool{block}"] = of.max_pool(2)
    return modules


class VGG(Network, nn.Sequential):
    """(B, in_channels, 224, 224) -> (B, K) logits.

    Args:
        column: a key of `COLUMNS`.
        num_classes: K.
        in_channels: of the input.
        dims: spatial axes of the input, 1, 2 or 3.
        side: of the input along each axis, in pixels; fc6 sees a map of side / 32.
    """

    own_layers: ClassVar[tuple[str, ...]] = ()  # all layers have a start: from net A, or at random

    def __init__(
        self, column: str, *, num_classes: int = 1000, in_channels: int = 3, dims: int = 2, side: int = 224
    ) -> None:
        map_side = side // 32
        super().__init__(
            OrderedDict(
                **blocks(COLUMNS[column], in_channels, dims),
                flatten=nn.Flatten(),  # 25088
                fc6=nn.Linear(512 * map_side**dims, 4096),  # 4096
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )
        self.map_side = map_side
        initialise(self, gaussian(0.1))  # the paper's variance of 0.01

    def start_from(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Takes net A's first four convolutions and its fully connected layers (section 3.1); the others stay random.

        Raises:
            UsageError: the weights are of another network, or of another side, and nothing was copied.
        """
        names = [name for name in self.state_dict() if name.rpartition(".")[0] in FROM_A]
        if absent := [name for name in names if name not in tensors and not name.startswith("fc8")]:
            raise UsageError(f"the weights lack {absent[0]}; expected those of vgg_a")
        for name in (taken := [name for name in names if name in tensors]):
            if self.state_dict()[name].shape != tensors[name].shape:
                wanted = tuple(self.state_dict()[name].shape)
                raise UsageError(f"the shallower net's {name} has the shape {tuple(tensors[name].shape)}; not {wanted}")
        self.load_state_dict({name: tensors[name] for name in taken}, strict=False)
        return tuple(taken)

    def dense(self, x: Tensor) -> Tensor:
        """The class scores at every window of a larger image (section 3.2).  (B, C, H, W) -> (B, K, h, w)

        Windows are 32 pixels apart. The paper averages the map over its positions to score the whole image.
        """
        cut = list(self._modules).index("flatten")
        for layer in list(self)[:cut]:
            x = layer(x)
        x = sliding_windows(x, self.map_side)
        for layer in list(self)[cut + 1 :]:
            x = layer(x)
        return x.movedim(-1, 1)


def start_from(deeper: VGG, shallower: VGG) -> tuple[str, ...]:
    """Copies net A's first four convolutions and its fully connected layers into a deeper net (section 3.1).

    The copied layers are the ones of the same names; the others stay random. All of them go on learning.

    Returns:
        The names of the copied layers.

    Raises:
        UsageError: the networks differ in classes, channels, side or axes; nothing was copied.
    """
    for name in FROM_A:
        shapes = [tuple(net.get_submodule(name).get_parameter("weight").shape) for net in (deeper, shallower)]
        if shapes[0] != shapes[1]:
            raise UsageError(f"the shallower net's {name} has weights {shapes[1]}; expected {shapes[0]}")
    for name in FROM_A:
        deeper.get_submodule(name).load_state_dict(shallower.get_submodule(name).state_dict())
    return FROM_A


@register(paper="simonyan2014_vgg", input_shape=(3, 224, 224), aliases=("vgg11",))
def vgg_a(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> VGG:
    """VGG-11 (A): one or two 3x3 convolutions a block, the net that the deeper ones start from."""
    return VGG("A", num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="simonyan2014_vgg", input_shape=(3, 224, 224), aliases=("vgg11_lrn",))
def vgg_a_lrn(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> VGG:
    """VGG-11 with AlexNet's response normalisation after the first layer, which did not help."""
    return VGG("A-LRN", num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="simonyan2014_vgg", input_shape=(3, 224, 224), aliases=("vgg13",))
def vgg_b(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> VGG:
    """VGG-13 (B): two 3x3 convolutions in each block."""
    return VGG("B", num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="simonyan2014_vgg", input_shape=(3, 224, 224), aliases=("vgg16c",))
def vgg_c(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> VGG:
    """VGG-16 with 1x1 filters (C): B and a 1x1 convolution in each of the last three blocks."""
    return VGG("C", num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="simonyan2014_vgg", input_shape=(3, 224, 224), aliases=("vgg16",))
def vgg_d(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> VGG:
    """VGG-16 (D): as C, with 3x3 filters instead of 1x1."""
    return VGG("D", num_classes=num_classes, in_channels=in_channels, dims=dims)


@register(paper="simonyan2014_vgg", input_shape=(3, 224, 224), aliases=("vgg19",))
def vgg_e(*, num_classes: int = 1000, in_channels: int = 3, dims: int = 2) -> VGG:
    """VGG-19 (E): four 3x3 convolutions in each of the last three blocks."""
    return VGG("E", num_classes=num_classes, in_channels=in_channels, dims=dims)
