"""Darknet's .weights: a header and one row of float32 values, whose meaning only the network's own layers tell.

Follows  load_weights_upto, load_convolutional_weights and load_connected_weights in src/parser.c of pjreddie/darknet.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convatlas.weights.formats.contents import Contents, Cursor, damaged

VALUES = "values"
TRANSPOSED = "transposed"  # present where fully connected weights are inputs by outputs
_FLAG = 1000  # a version from here on says so


@dataclass(frozen=True)
class Step:
    """One layer of the row: a convolution or fully connected layer, and the batch normalisation behind it."""

    layer: str
    shape: tuple[int, ...]  # of the weights in torch's order
    norm: str | None = None


def read(data: memoryview, source: object) -> Contents:
    """The whole row as the tensor "values"; `unroll` gives it names.

    Raises:
        ConvatlasError: shorter than its header, or no whole number of values.
    """
    cursor = Cursor(data, source)
    major, minor, _ = cursor.integers("i", 3)
    if not (0 <= major <= 2 * _FLAG and 0 <= minor <= 2 * _FLAG):
        raise damaged(source, f"version {major}.{minor}; expected a Darknet file")
    wide = major * 10 + minor >= 2 and major < _FLAG and minor < _FLAG
    cursor.integer("q" if wide else "i")  # the images seen in training
    if cursor.left == 0 or cursor.left % 4:
        raise damaged(source, f"{cursor.left} bytes behind the header; expected float32 values")
    tensors = {VALUES: torch.from_numpy(np.frombuffer(cursor.take(cursor.left), "<f4").astype(np.float32))}
    if major > _FLAG or minor > _FLAG:
        tensors[TRANSPOSED] = torch.ones(())
    return Contents("Darknet", tensors)


def length(steps: Iterable[Step]) -> int:
    """How many values these layers take."""
    return sum(torch.Size(step.shape).numel() + step.shape[0] * (4 if step.norm else 1) for step in steps)


def unroll(tensors: dict[str, Tensor], steps: Iterable[Step]) -> dict[str, Tensor]:
    """Cuts the row at the layers; its length must be that of the layers.

    A convolution gives its biases, its normalisation's scales, means and variances, and then its weights; a fully
    connected layer gives its weights before its normalisation. Biases belong to the normalisation where there is one.
    """
    row, position, named = tensors[VALUES], 0, {}

    def cut(shape: tuple[int, ...]) -> Tensor:
        nonlocal position
        start, position = position, position + torch.Size(shape).numel()
        return row[start:position].reshape(shape)

    for step in steps:
        width = step.shape[:1]
        weight = f"{step.layer}.weight"
        named[f"{step.norm or step.layer}.bias"] = cut(width)
        connected = len(step.shape) == 2
        if connected:
            named[weight] = cut(step.shape[::-1]).T if TRANSPOSED in tensors else cut(step.shape)
        if step.norm is not None:
            for entry in ("weight", "running_mean", "running_var"):
                named[f"{step.norm}.{entry}"] = cut(width)
        if not connected:
            named[weight] = cut(step.shape)
    return named
