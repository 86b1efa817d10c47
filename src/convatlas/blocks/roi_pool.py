"""RoI pooling: a region's feature map becomes h x w bins, whatever the region's size.

Girshick, "Fast R-CNN", ICCV 2015, section 2.1, with the rounding of the release's `ROIPooling` layer.

Shapes   B batch, C channels, H x W feature map, h x w bins, R regions of all images, N of one.
"""

import torch
from torch import Tensor, nn

from convatlas.lazy import Lazy

ops = Lazy("torchvision.ops")


class RoIMaxPool(nn.Module):
    """The maximum of a region's map in each of h x w bins.  (B, C, H, W), B times (N, 4) -> (R, C, h, w)

    The first and the last pixel of a region are divided by `stride` and rounded; bins overlap where the map's cells
    do not divide evenly; a bin outside the map is 0.
    """

    def __init__(self, bins: int, *, stride: int) -> None:
        super().__init__()
        self.bins, self.stride = bins, stride

    def forward(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        first_and_last = [torch.cat([each[:, :2], each[:, 2:] - 1], 1).to(features) for each in boxes]
        return ops.roi_pool(features, first_and_last, self.bins, 1 / self.stride)
