"""AlexNet: the network that won ILSVRC-2012 by ten points and turned the field to learned features; and its neighbours.

Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012.
Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, 2014.

Follows  Sections 3 to 5 and figure 2 for `alexnet`. The two GPUs of figure 2 are two groups in conv2, conv4 and conv5.
         `alexnet_ungrouped` is the same network on one GPU: never published, but what the groups are compared with.
         `caffenet` follows Caffe's models/bvlc_reference_caffenet; `alexnet_owt` follows what torchvision ships.
Departs  The text gives a 224 px input, from which no unpadded 11 x 11 filter of stride 4 makes the 55 x 55 map of the
         other numbers. We take 227 px. The paper halves the hidden outputs at test time; we double the
         surviving ones in training, which is the same in expectation.
Shapes   B batch, C channels, H x W map, K classes.
"""

from collections import OrderedDict

from torch import nn

from convatlas.blocks.init import gaussian, initialise
from convatlas.network import Network
from convatlas.registry import register


def _normalise(*, k: float, alpha: float) -> nn.LocalResponseNorm:
    """Response normalisation over 5 neighbouring maps; torch divides `alpha` by 5.  (B, C, H, W) -> (B, C, H, W)"""
    return nn.LocalResponseNorm(5, alpha=alpha, beta=0.75, k=k)


def _set_biases(net: nn.Module) -> None:
    """To 1 where section 5 has them so, which gives the units a positive input from the start."""
    for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
        nn.init.ones_(net.get_parameter(f"{name}.bias"))


class AlexNet(Network, nn.Sequential):
    """(B, in_channels, 227, 227) -> (B, K) logits. `groups` is the number of GPUs of figure 2."""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3, groups: int = 2) -> None:
        # The paper's sum over neighbours has alpha = 1e-4 undivided.
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 11, stride=4),  # 96 x 55 x 55
                relu1=nn.ReLU(),
                norm1=_normalise(k=2, alpha=5 * 1e-4),
                pool1=nn.MaxPool2d(3, stride=2),  # 96 x 27 x 27
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=groups),  # 256 x 27 x 27
                relu2=nn.ReLU(),
                norm2=_normalise(k=2, alpha=5 * 1e-4),
                pool2=nn.MaxPool2d(3, stride=2),  # 256 x 13 x 13
                conv3=nn.Conv2d(256, 384, 3, padding=1),  # 384 x 13 x 13
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=groups),  # 384 x 13 x 13
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=groups),  # 256 x 13 x 13
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, stride=2),  # 256 x 6 x 6
                flatten=nn.Flatten(),  # 9216
                fc6=nn.Linear(256 * 6 * 6, 4096),  # 4096
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )
        initialise(self, gaussian(0.01))
        _set_biases(self)


class CaffeNet(Network, nn.Sequential):
    """AlexNet with pooling before normalisation, and Caffe's reading of alpha.  (B, in_channels, 227, 227) -> (B, K)"""

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        # Caffe divides alpha by the number of neighbours, as torch does, and leaves k at 1.
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 96, 11, stride=4),  # 96 x 55 x 55
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(3, stride=2),  # 96 x 27 x 27
                norm1=_normalise(k=1, alpha=1e-4),
                conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),  # 256 x 27 x 27
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(3, stride=2),  # 256 x 13 x 13
                norm2=_normalise(k=1, alpha=1e-4),
                conv3=nn.Conv2d(256, 384, 3, padding=1),  # 384 x 13 x 13
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),  # 384 x 13 x 13
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),  # 256 x 13 x 13
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, stride=2),  # 256 x 6 x 6
                flatten=nn.Flatten(),  # 9216
                fc6=nn.Linear(256 * 6 * 6, 4096),  # 4096
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),  # 4096
                relu7=nn.ReLU(),
                drop7=nn.Dropout(0.5),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )
        initialise(self, gaussian(0.01), by_name={"fc6": gaussian(0.005), "fc7": gaussian(0.005)})
        _set_biases(self)


class AlexNetOWT(Network, nn.Sequential):
    """The one-GPU network: no groups, no normalisation.  (B, in_channels, 224, 224) -> (B, K) logits.

    Dropout acts on the input of fc6 and of fc7. Other input sizes from 63 px are averaged to the same 6 x 6 map.
    """

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),  # 64 x 55 x 55
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(3, stride=2),  # 64 x 27 x 27
                conv2=nn.Conv2d(64, 192, 5, padding=2),  # 192 x 27 x 27
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(3, stride=2),  # 192 x 13 x 13
                conv3=nn.Conv2d(192, 384, 3, padding=1),  # 384 x 13 x 13
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(384, 256, 3, padding=1),  # 256 x 13 x 13
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(256, 256, 3, padding=1),  # 256 x 13 x 13
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(3, stride=2),  # 256 x 6 x 6
                average=nn.AdaptiveAvgPool2d(6),  # 256 x 6 x 6
                flatten=nn.Flatten(),  # 9216
                drop5=nn.Dropout(0.5),
                fc6=nn.Linear(256 * 6 * 6, 4096),  # 4096
                relu6=nn.ReLU(),
                drop6=nn.Dropout(0.5),
                fc7=nn.Linear(4096, 4096),  # 4096
                relu7=nn.ReLU(),
                fc8=nn.Linear(4096, num_classes),  # 1000
            )
        )


@register(paper="krizhevsky2012", input_shape=(3, 227, 227))
def alexnet(*, num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """AlexNet as published: two groups, response normalisation before overlapping pooling, dropout."""
    return AlexNet(num_classes=num_classes, in_channels=in_channels)


@register(paper="krizhevsky2012", input_shape=(3, 227, 227))
def alexnet_ungrouped(*, num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    """AlexNet without the two-GPU split: every map of conv2, conv4 and conv5 sees all maps below it."""
    return AlexNet(num_classes=num_classes, in_channels=in_channels, groups=1)


@register(paper="krizhevsky2012", input_shape=(3, 227, 227), aliases=("bvlc_reference_caffenet",))
def caffenet(*, num_classes: int = 1000, in_channels: int = 3) -> CaffeNet:
    """CaffeNet: the AlexNet that Caffe shipped, with pooling before normalisation."""
    return CaffeNet(num_classes=num_classes, in_channels=in_channels)


@register(paper="krizhevsky2014", input_shape=(3, 224, 224))
def alexnet_owt(*, num_classes: int = 1000, in_channels: int = 3) -> AlexNetOWT:
    """AlexNet of "One weird trick" as torchvision ships it: one GPU, no normalisation."""
    return AlexNetOWT(num_classes=num_classes, in_channels=in_channels)
