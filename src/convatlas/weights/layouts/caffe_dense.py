"""Caffe releases of segmenters: FCN, SegNet and SegNet-Basic, and U-Net's phseg_v5.

Layer names are those of the authors' prototxt files. SegNet's files for inference hold normalisations as a scale and a
shift, with the statistics already in them; they are read as statistics of mean 0 and variance 1.
"""

from functools import cache, partial

from convatlas.records import Preprocessing
from convatlas.weights.layouts.layout import Layout, layer_names, skeleton

_FCN_MEAN = (122.67891434, 116.66876762, 104.00698793)  # RGB, of the authors' voc_layers.py


def _bgr(height: int, width: int, mean: tuple[float, float, float]) -> Preprocessing:
    """BGR of 0 to 255 minus `mean` (RGB), the whole image."""
    return Preprocessing(
        (height, width), mean=tuple(value / 255 for value in mean), std=(1 / 255,) * 3, channel_order="bgr"
    )


@cache
def layouts() -> tuple[Layout, ...]:
    """All of them."""
    camvid, voc = _bgr(360, 480, (0.0, 0.0, 0.0)), _bgr(500, 500, _FCN_MEAN)
    return (
        *(
            Layout(release, network, (count,), partial(_same_names, network), voc, classes="voc")
            for release, network, count in (
                ("voc-fcn32s", "fcn32s_vgg16_voc", 17),
                ("voc-fcn16s", "fcn16s_vgg16_voc", 19),
                ("voc-fcn8s", "fcn8s_vgg16_voc", 21),
                ("voc-fcn-alexnet", "fcn_alexnet_voc", 9),
            )
        ),
        *(
            Layout(release, network, (count,), partial(_same_names, network), camvid, classes="camvid", normalised=True)
            for release, network, count in (("segnet", "segnet_camvid", 51), ("segnet_basic", "segnet_basic", 17))
        ),
        Layout("phseg_v5", "unet_phseg_v5_release", (23,), _phseg_v5, None, classes=None),
    )


def _same_names(network: str) -> dict[str, str]:
    return {path: path for path in layer_names(skeleton(network))}


def _phseg_v5() -> dict[str, str]:
    """conv_d0a-b, upconv_d4c_u3a, conv_u0d-score."""
    layers = {f"conv_d{level}{a}-{b}": f"d{level}.{a}_{b}" for level in range(5) for a, b in ("ab", "bc")}
    layers |= {f"conv_u{level}{a}-{b}": f"u{level}.{a}_{b}" for level in range(4) for a, b in ("bc", "cd")}
    layers |= {
        f"upconv_{'d4c' if level == 3 else f'u{level + 1}d'}_u{level}a": f"upconv_u{level}.upconv" for level in range(4)
    }
    return layers | {"conv_u0d-score": "score"}
