"""`convatlas convolve`: convolution and correlation by hand, step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from convatlas.cli.arguments import validate_output
from convatlas.cli.common import console, print_json
from convatlas.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from convatlas.analysis.convolution import Mode, Planes

PRINTED = 400  # values of a matrix that a terminal shows
STEPS = 64  # positions


def command(
    image: Annotated[
        str, typer.Argument(metavar="A", help="A CSV, .npy or image file; an empty line of a CSV begins a channel.")
    ],
    kernels: Annotated[
        list[str], typer.Argument(metavar="B...", help="Kernels: files, or sobel_x, sobel_y, laplace, gauss3 ...")
    ],
    mode: Annotated[
        Literal["full", "same", "valid"], typer.Option(help="Every overlap, the size of A, or B inside of A.")
    ] = "full",
    correlate: Annotated[
        bool,
        typer.Option("--correlate", help="Leave B as it is, as frameworks do; else it is rotated by 180 degrees."),
    ] = False,
    channels: Annotated[
        bool, typer.Option("--channels", help="Convolve each channel of A with the one of B, without adding them up.")
    ] = False,
    as_matrix: Annotated[
        bool, typer.Option("--as-matrix", help="The same as one matrix product, kernels times windows (im2col).")
    ] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Every value of the output with its sum.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the output: .csv, .npy or an image.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Convolve two matrices by hand: the result, every step, and the matrix product that frameworks compute instead.

    Several kernels give several output channels. A kernel with one channel is used for each channel of an image. The
    result is checked against scipy.
    """
    import numpy as np

    from convatlas.analysis.convolution import convolve, scipy_difference
    from convatlas.cli.matrices import IMAGES, read_matrix, write_matrix

    validate_output(out, "--out", (".csv", ".npy", *IMAGES))
    planes = read_matrix(image)
    given = [(name, matched(read_matrix(name), planes)) for name in kernels]
    if channels:
        pairs = [
            (f"{name}, channel {c + 1}", planes[c : c + 1], kernel[c : c + 1])
            for name, kernel in given
            for c in range(len(planes))
        ]
    else:
        pairs = [(name, planes, kernel) for name, kernel in given]
    outputs = [convolve(part, kernel, mode=mode, correlate=correlate) for _, part, kernel in pairs]
    if len({output.shape for output in outputs}) > 1:
        raise UsageError("B: the kernels give outputs of different sizes; expected kernels of one size, or --mode same")
    difference = max(
        scipy_difference(part, kernel, output, mode=mode, correlate=correlate)
        for (_, part, kernel), output in zip(pairs, outputs, strict=True)
    )
    stacked = np.stack(outputs)
    if out is not None:
        write_matrix(out, stacked)
    if json:
        print_json({"mode": mode, "correlate": correlate, "output": stacked.tolist(), "scipy_difference": difference})
        return
    screen = console()
    for (name, part, kernel), output in zip(pairs, outputs, strict=True):
        word = "correlation" if correlate else "convolution"
        size = f"{output.shape[0]} x {output.shape[1]}"
        screen.print(f"{mode} {word} with {name}: {size}", markup=False, style="bold")
        print_matrix(screen, output)
        if steps:
            print_steps(screen, part, kernel, mode, correlate)
    if as_matrix:
        print_product(screen, [(part, kernel) for _, part, kernel in pairs], mode, correlate)
    screen.print(f"largest difference from scipy: {difference:.3g}", style="dim")
    if out is not None:
        screen.print(f"written to {out}", markup=False)


def matched(kernel: "Planes", image: "Planes") -> "Planes":
    """A kernel with as many channels as the image; one with a single channel serves them all."""
    import numpy as np

    if len(kernel) == 1 < len(image):
        return np.repeat(kernel, len(image), axis=0)
    return kernel


def print_matrix(screen: "Console", matrix: "NDArray[np.float64]") -> None:
    """Aligned numbers; of a large matrix only what it ranges over."""
    if matrix.size > PRINTED:
        screen.print(f"  from {matrix.min():g} to {matrix.max():g}, mean {matrix.mean():g}; --out FILE writes it")
        return
    cells = [[f"{value:g}" for value in row] for row in matrix + 0.0]
    width = max(len(cell) for row in cells for cell in row)
    for row in cells:
        screen.print("  " + "  ".join(cell.rjust(width) for cell in row), soft_wrap=True)


def print_steps(screen: "Console", image: "Planes", kernel: "Planes", mode: "Mode", correlate: bool) -> None:
    """Each value as a sum of products, zeros outside of the image included."""
    from convatlas.analysis.convolution import positions

    for number, position in enumerate(positions(image, kernel, mode=mode, correlate=correlate)):
        if number == STEPS:
            screen.print(f"  ... the first {STEPS} positions only")
            return
        screen.print(f"  Y[{position.row + 1},{position.column + 1}] = {position.sum()}", markup=False)


def print_product(screen: "Console", pairs: "list[tuple[Planes, Planes]]", mode: "Mode", correlate: bool) -> None:
    """Kernels as rows times windows as columns."""
    from convatlas.analysis.convolution import as_matrices

    rows, columns = as_matrices(pairs[0][0], [kernel for _, kernel in pairs], mode=mode, correlate=correlate)
    screen.print("as one matrix product, kernels x windows", style="bold")
    for name, matrix in (("kernels", rows), ("windows", columns), ("product", rows @ columns)):
        screen.print(f"{name}, {matrix.shape[0]} x {matrix.shape[1]}")
        print_matrix(screen, matrix)
