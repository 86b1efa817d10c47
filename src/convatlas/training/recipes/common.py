"""What several published recipes share."""

from dataclasses import replace

from convatlas.data.augment import ColourJitter, HorizontalFlip, PadCrop, PCANoise, RandomSizedCrop
from convatlas.records import Preprocessing, PublishedResult
from convatlas.training.mechanisms import ParameterGroup

ILSVRC = "ILSVRC-2012 validation"
ILSVRC_IMAGES = 1_281_167  # of the training split
CIFAR10 = "CIFAR-10 test"

CAFFE_MEAN = (123 / 255, 117 / 255, 104 / 255)  # of ImageNet, RGB, as Caffe's examples subtract it
VOC_MEAN = (122.675 / 255, 116.669 / 255, 104.008 / 255)  # RGB, as the prototxts of segmenters print it
CIFAR10_MEAN = (125, 123, 114)
PIXELS = (1 / 255, 1 / 255, 1 / 255)  # deviations that leave values of 0..255

PAD_AND_MIRROR = (PadCrop(4, fill=CIFAR10_MEAN), HorizontalFlip())
"""The CIFAR augmentation of He et al. 2015; zeros around an image whose mean is subtracted are the mean colour."""


def pixels(
    side: int, *, mean: tuple[float, ...] | None = None, resize: str = "short_side", resize_to: int = 256
) -> Preprocessing:
    """Pixel values of 0..255 minus a mean, as networks before batch normalisation were fed, with std 1 pixel.

    Without `mean` the mean image of the training images is subtracted.
    """
    scale = {"std": (1 / 255, 1 / 255, 1 / 255), "resize": resize, "resize_to": resize_to}
    if mean is None:
        return Preprocessing((side, side), mean_image="training", **scale)  # pyright: ignore[reportArgumentType]
    return Preprocessing((side, side), mean=mean, **scale)  # pyright: ignore[reportArgumentType]


CAFFE_INPUT = Preprocessing((224, 224), mean=CAFFE_MEAN, std=PIXELS, channel_order="bgr")
"""Images as Caffe's OpenCV reads them: blue first, 0..255 minus the mean; for `replace`, which sets the size."""


def caffe_pixels(side: int, *, mean: tuple[float, ...] | None = None) -> Preprocessing:
    """The same as Caffe's files have it: images stretched to 256 x 256, channels in the order blue, green, red."""
    return replace(pixels(side, mean=mean, resize="stretch"), channel_order="bgr")


CAFFE_BIASES = (ParameterGroup(of="bias", lr_scale=2.0, weight_decay=0.0),)
"""The two `param` of each layer in Caffe's files: biases learn twice as fast and do not decay."""

NORMS_UNDECAYED = (ParameterGroup(of="norm", weight_decay=0.0),)
KERNELS_DECAYED = (ParameterGroup(of="bias", weight_decay=0.0), *NORMS_UNDECAYED)
"""Decay for the weights of convolutions and fully connected layers alone, as TensorFlow's slim regularises them."""

FB_RESNET_TORCH = (
    RandomSizedCrop((224, 224)),
    ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4),
    PCANoise(),
    HorizontalFlip(),
)
"""facebookarchive/fb.resnet.torch, datasets/imagenet.lua, on which ResNeXt and DenseNet were built as well."""


def ilsvrc(protocol: str, top1: str | None, top5: str | None = None, *, printed_for: str = "") -> PublishedResult:
    return PublishedResult(ILSVRC, protocol, top1, top5, printed_for)


def cifar10(error: str, protocol: str = "") -> PublishedResult:
    return PublishedResult(CIFAR10, protocol, error)
