"""U-Net's weight map: what each pixel of a mask of cells counts in the loss.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015, equation 2:

    w(x) = w_c(x) + w_0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)),   w_0 = 10, sigma = 5 pixels

d1 is the distance to the border of the nearest cell, d2 to that of the second nearest; w_c balances the classes.

Departs  The equation does not say what holds inside a cell. The term is there to learn the gaps between cells, so we
         leave the cells with w_c. How w_c balances is not printed: we take the inverse of each class's share of the
         mask, scaled so that the mean of w_c over the pixels is 1.
Shapes   H x W mask. Distances are between pixel centres.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.records import VOID

ndimage, measure = Lazy("scipy.ndimage"), Lazy("skimage.measure")

_FLOAT32_BITS = 24


def weight_map(
    mask: Tensor,
    *,
    cell: int = 1,
    class_weights: tuple[float, float] | None = None,
    w0: float = 10.0,
    sigma_px: float = 5.0,
    void: int = VOID,
) -> Tensor:
    """Equation 2 for a mask of two classes, 0 and 1: (H, W) of whole numbers -> (H, W) float32

    Args:
        mask: void pixels weigh nothing.
        cell: the class whose connected components are the cells (1 where the other class is the membrane). Two pixels
            are connected when they share an edge, so that a membrane one pixel wide separates also where it is slanted.
        class_weights: w_c of classes 0 and 1; None balances the classes of this mask.
        w0: the weight of a gap of no width.
        sigma_px: how fast it falls with the gap's width.
        void: the value of pixels that are neither.

    Raises:
        UsageError: the mask is no (H, W) mask of 0, 1 and void, or `cell` is neither.
    """
    if mask.ndim != 2 or cell not in (0, 1):
        raise UsageError(f"mask is {tuple(mask.shape)} and cell is {cell}; expected (H, W) and a cell of 0 or 1")
    values = mask.cpu().numpy()
    counted = values != void
    if not np.isin(values[counted], (0, 1)).all():
        raise UsageError(f"mask has values {np.unique(values).tolist()}; expected 0, 1 and {void} for void")
    of_class = balanced(values[counted]) if class_weights is None else class_weights
    cells = np.asarray(measure.label(values == cell, connectivity=1))
    weights = np.where(values == 1, of_class[1], of_class[0]) + separation(cells, w0=w0, sigma_px=sigma_px)
    return torch.from_numpy(np.where(counted, weights, 0).astype(np.float32))


def balanced(labels: NDArray[np.integer]) -> tuple[float, float]:
    """The inverse shares of classes 0 and 1, halved, so that their mean over (N,) labels is 1; 1 for a class alone."""
    ones, n = int((labels == 1).sum()), labels.size
    return (1.0, 1.0) if ones in (0, n) else (n / (2 * (n - ones)), n / (2 * ones))


def separation(cells: NDArray[np.integer], *, w0: float = 10.0, sigma_px: float = 5.0) -> NDArray[np.float64]:
    """The second term of equation 2 from numbered cells, (H, W) with 0 for no cell: (H, W), 0 inside the cells.

    A cell's distances are computed only as far as the term can be seen beside 1 in float32. Where there are fewer than
    two cells within reach there is no gap: 0.
    """
    reach = math.ceil(sigma_px * math.sqrt(2 * math.log(max(w0, 1.0) * 2**_FLOAT32_BITS)))
    nearest = np.full(cells.shape, np.inf)
    second = np.full(cells.shape, np.inf)
    for number, place in enumerate(ndimage.find_objects(cells), start=1):
        if place is None:
            continue
        around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in place)
        distance = ndimage.distance_transform_edt(cells[around] != number)
        assert isinstance(distance, np.ndarray)
        second[around] = np.minimum(second[around], np.maximum(nearest[around], distance))
        nearest[around] = np.minimum(nearest[around], distance)
    gap = nearest + second
    return np.where(cells == 0, w0 * np.exp(-(gap**2) / (2 * sigma_px**2)), 0)
