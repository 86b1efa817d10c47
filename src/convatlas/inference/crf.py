"""A segmenter's scores made to follow the image's edges: the fully connected CRF as DeepLab uses it afterwards."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.ops.mean_field import Normalisation, gaussian_kernel, mean_field, pixel_features


@dataclass(frozen=True)
class DenseCRF:
    """Krähenbühl and Koltun 2011: unary, Potts, a bilateral and a spatial Gaussian kernel, mean-field inference.

    The first three fields are searched on validation images, network by network: DeepLab (Chen et al. 2015, section
    5) looks in 3 to 6, 30 to 100 and 3 to 6. The next two it sets to 3, and the iterations to 10.
    """

    bilateral_weight: float = 4.0
    position_px: float = 67.0
    colour: float = 3.0  # standard deviation, of values 0 to 255
    smoothness_weight: float = 3.0
    smoothness_px: float = 3.0
    iterations: int = 10
    normalisation: Normalisation = "symmetric"

    def __call__(self, logits: Tensor, image: Tensor) -> Tensor:
        """The marginals: logits or log-probabilities (K, H, W), uint8 image (C, H, W) -> (K, H, W), summing to 1.

        Raises:
            UsageError: they differ in size, or the image's values are not 0 to 255.
        """
        if logits.ndim != 3 or image.ndim != 3 or logits.shape[1:] != image.shape[1:]:
            raise UsageError(
                f"logits are {tuple(logits.shape)} and the image {tuple(image.shape)}; expected (K, H, W) and (C, H, W)"
            )
        if image.dtype != torch.uint8:
            raise UsageError(f"the image is {image.dtype}; expected uint8, 0 to 255")
        size = (logits.shape[1], logits.shape[2])
        with torch.no_grad():
            bilateral = pixel_features(size, self.position_px, image, self.colour)
            spatial = pixel_features(size, self.smoothness_px).to(image.device)
            kernels = [gaussian_kernel(features, self.normalisation) for features in (bilateral, spatial)]
            potts = 1 - torch.eye(len(logits), device=logits.device)
            weights = (self.bilateral_weight, self.smoothness_weight)
            refined = mean_field(logits.float().flatten(1).T, kernels, weights, potts, self.iterations)
        return refined.softmax(dim=1).T.view_as(logits)
