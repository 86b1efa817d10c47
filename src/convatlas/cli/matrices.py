"""Matrices of `convatlas convolve`: from CSV, .npy and image files or by name, to the same."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convatlas.analysis.convolution import KERNELS, Planes
from convatlas.errors import ConvatlasError, UsageError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MAX_VALUES = 50_000_000


def read_matrix(source: str) -> Planes:
    """(C, H, W) from a name of `KERNELS` or a file.

    A CSV file has a row of numbers on each line, separated by commas, semicolons, tabs or blanks; an empty line begins
    the next channel. An image gives its grey values, or red, green and blue, from 0 to 255.

    Raises:
        UsageError: neither a file nor a name.
        ConvatlasError: the file can't be read as a matrix.
    """
    if source in KERNELS:
        return np.array([KERNELS[source]], dtype=np.float64)
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"{source} is not a file; expected a CSV, .npy or image file, or {', '.join(KERNELS)}")
    try:
        if path.suffix.lower() in IMAGES:
            planes = _image(path)
        elif path.suffix.lower() == ".npy":
            planes = _array(path)
        else:
            planes = parse_planes(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, ValueError, TypeError) as error:
        raise ConvatlasError(f"{path} can't be read as a matrix: {error}") from error
    if not planes.size or not np.isfinite(planes).all():
        raise ConvatlasError(
            f"{path} is not a matrix of finite numbers: some are infinite or absent; expected numbers only"
        )
    return planes


def parse_planes(text: str, name: str) -> Planes:
    """(C, H, W) from rows of numbers; an empty line begins the next channel.

    >>> parse_planes("1,2\\n3,4", "x").tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """
    blocks: list[list[list[float]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").replace(";", " ").split()
        try:
            row = [float(word) for word in words]
        except ValueError:
            raise ConvatlasError(f"{name}: line {number} is {line[:60]!r}; expected numbers") from None
        if row:
            blocks[-1].append(row)
        elif blocks[-1]:
            blocks.append([])
    filled = [block for block in blocks if block]
    if len({len(row) for block in filled for row in block}) > 1 or len({len(block) for block in filled}) > 1:
        raise ConvatlasError(f"{name} has rows or channels of different lengths; expected a rectangle of numbers")
    return np.array(filled, dtype=np.float64).reshape(len(filled), *np.shape(filled)[1:])


def _image(path: Path) -> Planes:
    from convatlas.data.decode import open_image

    try:
        image = open_image(path)
    except ConvatlasError as error:
        raise ConvatlasError(f"{path}: {error}") from error
    with image:
        if image.width * image.height > MAX_VALUES:
            raise ValueError(f"{image.width} x {image.height} pixels; expected at most {MAX_VALUES:,}")
        grey = image.mode in ("1", "L", "I", "I;16", "F")
        values = np.asarray(image.convert("F" if grey else "RGB"), dtype=np.float64)
    return values[None] if grey else np.moveaxis(values, -1, 0)


def _array(path: Path) -> Planes:
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim not in (2, 3) or values.size > MAX_VALUES:
        raise ValueError(f"an array of shape {values.shape}; expected (H, W) or (C, H, W)")
    values = np.asarray(values, dtype=np.float64)
    return values if values.ndim == 3 else values[None]


def write_matrix(path: Path, planes: NDArray[np.float64]) -> None:
    """(N, H, W) to a CSV, .npy or image file, by its name. An image is stretched from the least value to the largest.

    Raises:
        UsageError: an image of two channels, or of more than three.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in IMAGES:
        from PIL import Image

        if len(planes) not in (1, 3):
            raise UsageError(f"{path} is an image, but there are {len(planes)} channels; expected a .csv or .npy file")
        low, high = planes.min(), planes.max()
        scaled = np.round(255 * (planes - low) / (high - low or 1)).astype(np.uint8)
        Image.fromarray(scaled[0] if len(planes) == 1 else np.moveaxis(scaled, 0, -1)).save(path)
    elif path.suffix.lower() == ".npy":
        np.save(path, planes[0] if len(planes) == 1 else planes)
    else:
        blocks = ("\n".join(",".join(f"{value:.12g}" for value in row) for row in plane) for plane in planes)
        path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
