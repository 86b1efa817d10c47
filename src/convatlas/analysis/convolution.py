"""Convolution and correlation by hand: every step of them, as one matrix product, checked against scipy.

Sources: LeCun et al. 1998 (correlation under the name of convolution, as in all frameworks); Chellapilla, Puri and
Simard 2006, and Caffe, for im2col.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convatlas.errors import UsageError

Mode = Literal["full", "same", "valid"]
Planes = NDArray[np.float64]  # (C, H, W)

KERNELS: dict[str, list[list[float]]] = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "box3": [[1 / 9] * 3] * 3,
    "gauss3": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
    "sobel_x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel_y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "prewitt_x": [[-1, 0, 1]] * 3,
    "roberts_x": [[1, 0], [0, -1]],
    "roberts_y": [[0, 1], [-1, 0]],
    "laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "laplace8": [[1, 1, 1], [1, -8, 1], [1, 1, 1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
}


@dataclass(frozen=True)
class Position:
    """One value of the output: the windows and kernels that meet there, channel by channel."""

    row: int
    column: int
    windows: Planes  # (C, h, w), zeros where the kernel reaches over the edge
    kernels: Planes  # (C, h, w), as they lie on the windows: turned by 180 degrees in a convolution
    value: float

    def sum(self) -> str:
        """ "1 x 8 + 2 x 7 + 3 x 6 + 4 x 5 = 60"."""
        pairs = zip(self.windows.ravel(), self.kernels.ravel(), strict=True)
        return " + ".join(f"{a:g} x {b:g}" for a, b in pairs) + f" = {self.value:g}"


def convolve(image: Planes, kernel: Planes, *, mode: Mode = "full", correlate: bool = False) -> NDArray[np.float64]:
    """The sum over channels of the convolutions of an image with a kernel.

    Args:
        image: (C, H, W).
        kernel: (C, h, w).
        mode: "full" is every position with an overlap, (H + h - 1, W + w - 1); "same" its middle, (H, W); "valid" the
            positions where the kernel lies inside, (H - h + 1, W - w + 1).
        correlate: whether the kernel stays as it is, instead of being turned by 180 degrees.

    Raises:
        UsageError: the numbers of channels differ, or "valid" has no position.

    >>> convolve(np.array([[[1.0, 2], [3, 4]]]), np.array([[[5.0, 6], [7, 8]]])).tolist()
    [[5.0, 16.0, 12.0], [22.0, 60.0, 40.0], [21.0, 52.0, 32.0]]
    """
    windows, laid = _lay(image, kernel, mode, correlate)
    return np.einsum("yxcij,cij->yx", windows, laid)


def positions(image: Planes, kernel: Planes, *, mode: Mode = "full", correlate: bool = False) -> Iterator[Position]:
    """Every value of the output with what it is made of, row by row; as `convolve`."""
    windows, laid = _lay(image, kernel, mode, correlate)
    for row, column in np.ndindex(*windows.shape[:2]):
        value = float((windows[row, column] * laid).sum())
        yield Position(row, column, windows[row, column], laid, value)


def as_matrices(
    image: Planes, kernels: list[Planes], *, mode: Mode = "full", correlate: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two matrices whose product is the output, as Caffe computes it (im2col).

    Returns:
        (N, C h w): a kernel in each row, its channels side by side; and (C h w, positions): a window in each column.
        Their product, (N, positions), holds the N output channels row by row.

    Raises:
        UsageError: kernels of different shapes.
    """
    if len({kernel.shape for kernel in kernels}) > 1:
        raise UsageError("kernels differ in shape; expected one shape for all rows of a matrix")
    windows, _ = _lay(image, kernels[0], mode, correlate)
    rows = np.stack([_turn(kernel, correlate).ravel() for kernel in kernels])
    return rows, windows.reshape(-1, rows.shape[1]).T


def scipy_difference(
    image: Planes, kernel: Planes, output: NDArray[np.float64], *, mode: Mode, correlate: bool
) -> float:
    """The largest absolute difference from what scipy computes for the same arguments."""
    from scipy import ndimage  # a third of the import time of scipy.signal

    turned = kernel[:, ::-1, ::-1] if correlate else kernel
    sides = kernel.shape[1:]
    pads = [(side - 1, side - 1) for side in sides]
    planes = zip(image, turned, strict=True)
    parts = [ndimage.convolve(np.pad(plane, pads), part, mode="constant") for plane, part in planes]
    padded = np.sum(parts, axis=0)
    full = padded[tuple(slice(side - 1 - side // 2, None) for side in sides)]  # ndimage centres the kernel
    first = [side - 1 - _pad(side, mode, correlate)[0] for side in sides]
    expected = full[first[0] : first[0] + output.shape[0], first[1] : first[1] + output.shape[1]]
    return float(np.abs(expected - output).max(initial=0))


def _turn(kernel: Planes, correlate: bool) -> Planes:
    return kernel if correlate else kernel[:, ::-1, ::-1]


def _lay(image: Planes, kernel: Planes, mode: Mode, correlate: bool) -> tuple[NDArray[np.float64], Planes]:
    """((rows, columns, C, h, w) windows of the output's positions, (C, h, w) the kernel as it lies on them)."""
    if image.shape[0] != kernel.shape[0]:
        raise UsageError(f"kernel has {kernel.shape[0]} channels, the image {image.shape[0]}; expected the same number")
    pads = [(0, 0), *(_pad(kernel.shape[axis], mode, correlate) for axis in (1, 2))]
    padded = np.pad(image, pads)
    if any(side < window for side, window in zip(padded.shape, kernel.shape, strict=True)):
        raise UsageError(
            f"kernel of {kernel.shape[1]} x {kernel.shape[2]} does not fit into the image of {image.shape[1]} x "
            f"{image.shape[2]}; expected a smaller one, or mode full or same"
        )
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)[0]
    return windows, _turn(kernel, correlate)


def _pad(side: int, mode: Mode, correlate: bool) -> tuple[int, int]:
    """Zeros before and after; "same" is the middle of "full", as scipy cuts it: with a kernel of even side the
    convolution's has its odd zero before, the correlation's behind.
    """
    if mode == "valid":
        return 0, 0
    if mode == "full":
        return side - 1, side - 1
    less, more = (side - 1) // 2, side // 2
    return (less, more) if correlate else (more, less)
