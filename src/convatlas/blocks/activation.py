"""Squashing functions of the early networks."""

import torch
from torch import Tensor, nn


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2a/3), so that f(1) = 1 and f(-1) = -1.  (...) -> (...)

    LeCun et al. 1989, and 1998, appendix A.
    """

    amplitude = 1.7159
    slope = 2 / 3

    def forward(self, x: Tensor) -> Tensor:
        return self.amplitude * (self.slope * x).tanh_()  # the product is nobody else's

    def derivative(self, x: Tensor) -> Tensor:
        """f'(x), element by element."""
        return self.amplitude * self.slope * (1 - torch.tanh(self.slope * x).square())
