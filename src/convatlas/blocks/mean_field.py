"""CRF-RNN: the iterations of mean field as a layer whose weights are trained with the network before it.

Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015, arXiv:1502.03240, section 4.

Shapes   B images, K classes, C colours, H x W image.
"""

import torch
from torch import Tensor, nn

from convatlas.errors import UsageError
from convatlas.ops.mean_field import gaussian_kernel, mean_field, pixel_features


class MeanField(nn.Module):
    """CRF-RNN: some iterations of mean field as a layer that learns.  (B, K, H, W), (B, C, H, W) -> (B, K, H, W)

    Args:
        num_classes: K.
        position_px: standard deviation of the bilateral kernel in pixels (160).
        colour: the same in units of the images' values (3, of 0 to 255).
        smoothness_px: standard deviation of the spatial kernel in pixels (3).
        iterations: in train mode; the paper trains with 5.
        eval_iterations: in eval mode; the paper tests with 10.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        position_px: float = 160.0,
        colour: float = 3.0,
        smoothness_px: float = 3.0,
        iterations: int = 5,
        eval_iterations: int = 10,
    ) -> None:
        super().__init__()
        self.position_px, self.colour, self.smoothness_px = position_px, colour, smoothness_px
        self.iterations, self.eval_iterations = iterations, eval_iterations
        self.bilateral_weights = nn.Parameter(5.0 * torch.eye(num_classes))
        self.spatial_weights = nn.Parameter(3.0 * torch.eye(num_classes))
        self.compatibility = nn.Parameter(-torch.eye(num_classes))  # Potts, but for a constant

    def forward(self, logits: Tensor, images: Tensor) -> Tensor:
        """Refined logits; a gradient reaches the logits and the parameters, not the images.

        Raises:
            UsageError: logits and images differ in number or size.
        """
        if len(logits) != len(images) or logits.shape[2:] != images.shape[2:]:
            raise UsageError(f"logits are {tuple(logits.shape)} and images {tuple(images.shape)}; expected one size")
        if logits.is_meta:  # the lattice depends on colours, the shape does not
            return torch.empty_like(logits)
        size = (logits.shape[2], logits.shape[3])
        spatial = gaussian_kernel(pixel_features(size, self.smoothness_px).to(logits.device), "pixel")
        weights = (self.bilateral_weights, self.spatial_weights)
        iterations = self.iterations if self.training else self.eval_iterations
        refined = []
        for unary, image in zip(logits, images, strict=True):
            features = pixel_features(size, self.position_px, image.detach(), self.colour)
            kernels = (gaussian_kernel(features, "pixel"), spatial)
            logits_of_one = mean_field(unary.flatten(1).T, kernels, weights, self.compatibility, iterations)
            refined.append(logits_of_one.T.view_as(unary))
        return torch.stack(refined)
