"""The fully connected conditional random field: every pixel of an image speaks to every other.

Krähenbühl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", NIPS 2011,
arXiv:1210.5644; Zheng et al., "Conditional Random Fields as Recurrent Neural Networks", ICCV 2015, arXiv:1502.03240

The energy of a labelling is the sum of its unary terms and, for each pair of pixels, of mu(x_i, x_j) k(f_i, f_j):

    k = w_1 exp(-|p_i - p_j|^2 / 2 a^2 - |I_i - I_j|^2 / 2 b^2)  +  w_2 exp(-|p_i - p_j|^2 / 2 c^2)

Mean-field inference approximates the marginals: softmax, filter with each kernel, weigh, compatibility, add, again.

Follows  Algorithm 1 of the first paper; its release's division of a kernel by each pixel's own sum ("pixel") and the
         symmetric form of the authors' later one. CRF-RNN's learned weights and compatibility are K x K matrices.
Departs  The paper leaves j = i out of the sums. So do we where the kernel is as printed ("none"); the releases, which
         divide by the sums, keep it, and so do we there.
Shapes   B images, K classes, C colours, H x W image, N = H W pixels.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from convatlas.ops.permutohedral import Lattice

Kernel = Callable[[Tensor], Tensor]  # (N, K) -> (N, K), linear
Normalisation = Literal["symmetric", "pixel", "none"]


def gaussian_kernel(features: Tensor, normalisation: Normalisation = "symmetric") -> Kernel:
    """The messages of all pixels to all, one Gaussian kernel: features (N, d) in standard deviations."""
    lattice = Lattice.of(features)
    if normalisation == "none":
        return lambda values: lattice.filter(values) - values
    total = lattice.filter(features.new_ones(len(features), 1))
    if normalisation == "pixel":
        return lambda values: lattice.filter(values) / total
    root = total.sqrt()
    return lambda values: lattice.filter(values / root) / root


def pixel_features(
    size: tuple[int, int], position_px: float, image: Tensor | None = None, colour: float = 1.0
) -> Tensor:
    """Each pixel's place, and its colours where an image (C, H, W) is given, in standard deviations: (N, 2 + C)"""
    device = None if image is None else image.device
    down, right = torch.meshgrid(*(torch.arange(side, device=device) for side in size), indexing="ij")
    places = torch.stack((right, down)).flatten(1).float() / position_px
    if image is None:
        return places.T
    return torch.cat((places, image.flatten(1).float() / colour)).T


def mean_field(
    logits: Tensor,
    kernels: Sequence[Kernel],
    weights: Sequence[Tensor | float],
    compatibility: Tensor,
    iterations: int,
) -> Tensor:
    """Mean-field inference from unary logits, minus the unary energies; the softmax of the result are the marginals.

    Args:
        logits: (N, K).
        kernels: linear, (N, K) -> (N, K).
        weights: one a kernel: a number, or a matrix (K, K) that also mixes the classes.
        compatibility: (K, K), what label k costs beside label l; Potts is 1 - I.
        iterations: all pixels change at once.
    """
    refined = logits = logits.contiguous()  # a pixel's classes together: the kernels read them so
    for _ in range(iterations):
        marginals = refined.softmax(dim=1)
        message = torch.zeros_like(logits)
        for kernel, weight in zip(kernels, weights, strict=True):
            filtered = kernel(marginals)
            message = message + (filtered @ weight.T if isinstance(weight, Tensor) else weight * filtered)
        refined = logits - message @ compatibility.T
    return refined
