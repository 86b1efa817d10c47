"""Upsampling as a transposed convolution that begins as bilinear interpolation.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 3.3.
"""

import torch
from torch import Tensor, nn


def bilinear_kernel(side: int) -> Tensor:
    """The tent of bilinear interpolation by (side + 1) // 2, as the authors' surgery.py draws it.  -> (side, side)

    >>> bilinear_kernel(4)[0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    factor = (side + 1) // 2
    tent = 1 - (torch.arange(side, dtype=torch.float32) - (side - 1) / 2).abs() / factor
    return tent[:, None] * tent


class BilinearUpsampling(nn.ConvTranspose2d):
    """Enlarges each map by itself at first; where it is `learned`, maps may mix afterwards.

    (B, channels, h, w) -> (B, channels, (h - 1) stride + side, (w - 1) stride + side)

    No groups and no biases, as in the authors' release. Position i lies in the middle of its tent, at stride i +
    (side - 1) / 2. Sides of twice the stride, or one less, interpolate.
    """

    def __init__(self, channels: int, side: int, *, stride: int, learned: bool) -> None:
        super().__init__(channels, channels, side, stride=stride, bias=False)
        with torch.no_grad():
            nn.init.zeros_(self.weight)
            self.weight[range(channels), range(channels)] = bilinear_kernel(side).to(self.weight.device)
        self.weight.requires_grad_(learned)
