"""What another program has to know of an exported file: how an image becomes its input, and what its outputs mean."""

import torch
from torch import Tensor

from convatlas.data import normalise
from convatlas.data.pose.transform import STRIDE
from convatlas.evaluation.segmenter import output_margin
from convatlas.inference.engines.graph import INPUT, OUTPUT
from convatlas.inference.exporting_detectors import OUTPUTS
from convatlas.inference.trained import TrainedNetwork

GEOMETRY = {
    "classification": {  # of what `middle` leaves, the part of both sides that is kept around the centre
        "none": "the image keeps its size",
        "short_side": "the short side becomes resize_to pixels, the long one side * long // short",
        "fit": "the long side becomes resize_to pixels, the short one in proportion, rounded",
        "stretch": "both sides become resize_to pixels",
    },
    "segmentation": "the whole image is scaled to size less output_margin_px on each side, and continued by mirroring",
    "detection": "the whole image is scaled to size",
    "pose": "the square around the person, black beyond the image, is scaled to size",
}
OUTPUT_WORDS = {
    "classification": "logits (B, K), not probabilities: softmax over axis 1 gives these",
    "segmentation": "logits (B, K, h, w) of the input without output_margin_px on each side; softmax over axis 1",
    "pose": f"heat maps (B, J, h, w), one position for {STRIDE} input pixels; a joint is at their maximum",
    "boxes": "(N, 4) float32: x1, y1, x2, y2 in pixels of the input, edges from 0 to W and 0 to H",
    "labels": "(N,) int64: places in classes, 0 to K - 1; the background has none",
    "scores": "(N,) float32, the highest first; suppression is done",
}


def interface_of(trained: TrainedNetwork, *, pixels: bool) -> dict[str, object]:
    """As values that JSON can hold, for the card of an exported file.

    `scale` and `offset` are those of pixels from 0 to 255: input = pixel * scale + offset, channel by channel in the
    input's order. With a mean image (`preprocessing.mean_image`: base64 of zlib of float16 (C, H, W), in RGB) `offset`
    is null, and the input is (pixel / 255 - mean image) / std before the channels are reversed.
    """
    preprocessing, task = trained.preprocessing, trained.task
    grey = preprocessing.channels == 1
    order = "grey" if grey else "rgb" if pixels else preprocessing.channel_order
    shown, said = GEOMETRY[task], OUTPUT_WORDS.get(task, "")
    return {
        "task": task,
        "input": {
            "name": INPUT,
            "layout": "NCHW",
            "dtype": "uint8" if pixels else "float32",
            "shape": [1 if task == "detection" else "any", preprocessing.channels, *preprocessing.size],
            "channel_order": order,
            "colour": "ITU-R BT.601 luma, as Pillow's L" if grey else "8 bits, sRGB as stored",
            "orientation": "EXIF orientation applied, transparency laid over white",
            "value_range": [0, 255],
            "scale": None if pixels else _values(trained, offset=False),
            "offset": None if pixels or preprocessing.mean_image is not None else _values(trained, offset=True),
        },
        "geometry": {
            "size": list(preprocessing.size),
            "middle": preprocessing.middle,
            "resize": preprocessing.resize if task == "classification" else "stretch",
            "resize_to": preprocessing.resize_to,
            "words": shown if isinstance(shown, str) else shown[preprocessing.resize],
            "interpolation": "bilinear",
            "antialias": True,
            "rounding": "to 8 bits after resizing, before scale and offset",
            "then": "crop or pad with black around the centre to size; an odd pixel goes to the bottom or right",
        },
        "outputs": {name: OUTPUT_WORDS[name] for name in OUTPUTS} if task == "detection" else {OUTPUT: said},
        "output_margin_px": margin_of(trained),
        "stride_px": STRIDE if task == "pose" else 1,
    }


def margin_of(trained: TrainedNetwork) -> int:
    """Pixels on each side of a segmenter's input that it gives no class for; 0 of any other network."""
    if trained.task != "segmentation":
        return 0
    return output_margin(trained.net, (trained.preprocessing.channels, *trained.preprocessing.size))


def _values(trained: TrainedNetwork, *, offset: bool) -> list[float]:
    """One for each channel, in the order of the network's input."""
    preprocessing = trained.preprocessing
    black: Tensor = torch.zeros(1, preprocessing.channels, *preprocessing.size)
    zero = normalise(black.clone(), preprocessing)[0, :, 0, 0]
    if offset:
        return zero.tolist()
    white = normalise(black + 255, preprocessing)[0, :, 0, 0]
    return ((white - zero).double() / 255).tolist()
