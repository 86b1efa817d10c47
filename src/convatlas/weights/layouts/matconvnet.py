"""MatConvNet releases: the networks of Caffe and VGG that it converted, under Caffe's names, and its images in RGB.

The images' size and mean are those that the file states; where it states none, those of the release in Caffe, as RGB.
"""

from dataclasses import replace
from functools import cache, partial

from convatlas.weights.layouts import caffe
from convatlas.weights.layouts.layout import Layout

_RELEASES = {  # in Caffe -> here, and how many layers it has
    "bvlc_reference_caffenet": ("imagenet-caffe-ref", 8),
    "bvlc_alexnet": ("imagenet-caffe-alex", 8),
    "VGG_ILSVRC_16_layers": ("imagenet-vgg-verydeep-16", 16),
    "VGG_ILSVRC_19_layers": ("imagenet-vgg-verydeep-19", 19),
    "ResNet-50": ("imagenet-resnet-50-dag", 107),
    "ResNet-101": ("imagenet-resnet-101-dag", 209),
    "ResNet-152": ("imagenet-resnet-152-dag", 311),
}


@cache
def layouts() -> tuple[Layout, ...]:
    """All of them. Scales are merged into the normalisation before."""
    return tuple(
        replace(
            layout,
            release=_RELEASES[layout.release][0],
            counts=_RELEASES[layout.release][1:],
            table=partial(_without_scales, layout),
            preprocessing=layout.preprocessing and replace(layout.preprocessing, channel_order="rgb"),
            called=None,
        )
        for layout in caffe.layouts()
        if layout.release in _RELEASES
    )


def _without_scales(layout: Layout) -> dict[str, str]:
    return {theirs: ours for theirs, ours in layout.layers.items() if not theirs.startswith("scale")}
