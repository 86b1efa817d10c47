"""Maps cut to the size of others, from a place that the strides and paddings between them tell."""

from torch import Tensor, nn


class Crop(nn.Module):
    """(B, C, h, w), (H, W) -> (B, C, H, W), from `offset` on along both axes; h and w are at least offset + H and W."""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset

    def extra_repr(self) -> str:
        return f"offset={self.offset}"

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = size
        return x[:, :, self.offset : self.offset + height, self.offset : self.offset + width]
