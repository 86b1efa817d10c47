"""Caffe's response normalisation within each map, which the Caffe versions of ZFNet have."""

from torch import Tensor, nn
from torch.nn import functional as F


class WithinChannelNorm(nn.Module):
    """Divides by (1 + alpha x the mean square of a window of the same map) ^ beta.  (B, C, H, W) -> (B, C, H, W)

    Positions outside the map are zeros that count in the mean, as in Caffe's WITHIN_CHANNEL.
    """

    def __init__(self, kernel_size: int = 3, *, alpha: float = 5e-5, beta: float = 0.75) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.alpha, self.beta = kernel_size, kernel_size // 2, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        mean = F.avg_pool2d(x.square(), self.kernel_size, stride=1, padding=self.padding)
        return x / (1 + self.alpha * mean) ** self.beta

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, alpha={self.alpha}, beta={self.beta}"
