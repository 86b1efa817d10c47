"""One operation of a forward pass, as `analysis.trace` records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convatlas.records.cards import Shape


@dataclass(frozen=True)
class Along:
    """Which positions of its input an output position reads along one axis."""

    rule: Literal[
        "window", "spread", "adaptive", "nearest", "linear", "cubic", "reflect", "replicate", "circular"
    ]  # "spread": transposed, each input position writes a window
    kernel: int = 1
    stride: int = 1
    padding: int = 0  # before the first position; negative where the first positions are cut off
    dilation: int = 1
    scale: float = 1.0  # input positions for one step of the output, where it is resized
    corners: bool = False  # resized so that the first and last positions stay where they are


@dataclass(frozen=True)
class Reads:
    """Which positions of its inputs an output position of an operation reads. Dimensions count without the batch."""

    rule: Literal["same", "slide", "mix", "contract", "reshape", "permute", "unfold", "cat", "all"]
    dims: tuple[int, ...] = ()  # that slide, are mixed or contracted, in the new order, or are joined
    along: tuple[Along, ...] = ()  # one per dimension that slides


@dataclass(frozen=True)
class LayerRecord:
    """One operation of one forward pass of one sample: a leaf module, or a function called outside any leaf module."""

    index: int
    name: str  # module path, e.g. "conv2_x.conv2_1.conv1"; for a function the enclosing path and "/" and its name
    kind: str  # "conv", "fc", "maxpool", "avgpool", "batchnorm", "lrn", "relu", "dropout", "add", "cat", ...
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    dilation: tuple[int, ...] | None
    groups: int | None
    inputs: tuple[int, ...]  # indices of the records that it reads; -1 is the network's input
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    parameters: int  # learnable, its own
    connections: int | None  # weights used, biases included, as LeCun counts; None: not counted
    multiply_adds: int | None  # None: not counted
    output_bytes: int
    weights_read: int = 0  # parameters that it uses, whether or not an earlier operation used them too
    alive_bytes: int = 0  # the most activations that were held at once until it was done, the input included
    reads: Reads | None = None  # which positions of its inputs an output position reads; None: not known
