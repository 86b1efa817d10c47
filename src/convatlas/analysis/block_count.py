"""What a block of layers costs and sees: counted from its notation, without building it.

Counts follow LeCun et al. 1998 and the rest of the atlas: a connection is a use of a weight or a bias, a multiply-add a
use of a weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convatlas.analysis.block_notation import Step
from convatlas.errors import UsageError

BYTES = 4  # of a value in float32


@dataclass(frozen=True)
class StepCount:
    """One step of a block on one image; without a size of the input, at one position of the output."""

    step: Step | None  # None: of a layer of a network, not of a block that was written by hand
    output: tuple[int, int] | None  # H, W
    weights: int
    parameters: int  # with biases
    connections: int
    multiply_adds: int
    nonlinearities: int  # layers of them, not units
    activation_bytes: int  # of the output
    arithmetic: str  # of the multiply-adds


@dataclass(frozen=True)
class BlockCount:
    """The sums over a block."""

    name: str
    steps: tuple[StepCount, ...]
    receptive_field: tuple[int, int]
    stride: int

    def total(self, quantity: str) -> int:
        """The sum of a count over the steps; `activation_bytes` is the sum of all outputs, as training keeps them."""
        return sum(getattr(step, quantity) for step in self.steps)

    @property
    def parameter_bytes(self) -> int:
        return BYTES * self.total("parameters")


def count_block(name: str, steps: Sequence[Step]) -> BlockCount:
    """Counts a block.

    Args:
        name: what it is called in tables, usually its notation.
        steps: what `block_notation.parse_block` gives. One of them may name the size of the input.

    Raises:
        UsageError: a window is larger than what it slides over, or a locally connected layer has no size.

    >>> from convatlas.analysis.block_notation import parse_block
    >>> count_block("bottleneck", parse_block("conv 1x1 256->64; conv 3x3 64->64; conv 1x1 64->256")).total("weights")
    69632
    """
    size = next((step.size for step in steps if step.size), None)
    field, jump = [1, 1], 1
    counted = []
    for step in steps:
        counts = _count_step(step, size)
        if step.operation == "fc" and size is not None:
            field = [f + (extent - 1) * jump for f, extent in zip(field, size, strict=True)]
        size = counts.output
        if step.operation in ("conv", "local", "pool"):
            field = [f + step.dilation * (k - 1) * jump for f, k in zip(field, step.kernel, strict=True)]
            jump *= step.stride
        counted.append(counts)
    return BlockCount(name, tuple(counted), (field[0], field[1]), jump)


def _count_step(step: Step, size: tuple[int, int] | None) -> StepCount:
    if step.operation == "fc":
        return _fully_connected(step, size)
    output = None if size is None else _slide(step, size)
    positions = 1 if output is None else math.prod(output)
    if step.channels is None:
        return StepCount(step, output, 0, 0, 0, 0, step.operation == "relu", 0, "")
    inputs, outputs = step.channels
    fan_in = inputs // step.groups * math.prod(step.kernel)
    if step.operation == "local" and output is None:
        raise UsageError("local has a kernel at each position: the size of the input is missing; expected @SIZE")
    copies = positions if step.operation == "local" else 1
    bias = outputs if step.bias else 0
    arithmetic = " x ".join(map(str, [*(output or ()), outputs, inputs // step.groups, *step.kernel]))
    return StepCount(
        step,
        output,
        weights=copies * outputs * fan_in,
        parameters=copies * (outputs * fan_in + bias),
        connections=positions * (outputs * fan_in + bias),
        multiply_adds=positions * outputs * fan_in,
        nonlinearities=int(step.nonlinear),
        activation_bytes=BYTES * positions * outputs,
        arithmetic=arithmetic,
    )


def _fully_connected(step: Step, size: tuple[int, int] | None) -> StepCount:
    assert step.channels is not None
    inputs, outputs = step.channels[0] * math.prod(size or (1, 1)), step.channels[1]
    bias = outputs if step.bias else 0
    parameters = inputs * outputs + bias
    return StepCount(
        step, None, inputs * outputs, parameters, parameters, inputs * outputs, int(step.nonlinear), BYTES * outputs,
        f"{outputs} x {inputs}",
    )  # fmt: skip


def _slide(step: Step, size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of the output."""
    if step.operation == "relu":
        return size
    sides = []
    for extent, kernel in zip(size, step.kernel, strict=True):
        reach = step.dilation * (kernel - 1)
        if step.padding is not None:
            padded = extent + 2 * step.padding
        else:  # a pool is not padded, a convolution keeps the size at stride 1
            padded = extent + (0 if step.operation == "pool" else reach)
        if padded <= reach:
            raise UsageError(f"a window of {kernel} does not fit on {extent} pixels; expected a larger @SIZE")
        sides.append((padded - reach - 1) // step.stride + 1)
    return sides[0], sides[1]


EXAMPLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "bottleneck": (
        "256 to 256 channels directly, or through a bottleneck of 64 (Szegedy et al. 2014; He et al. 2015)",
        ("conv 3x3 256->256", "conv 1x1 256->64; conv 3x3 64->64; conv 1x1 64->256"),
    ),
    "stack3x3": (
        "One 7 x 7 against three 3 x 3 of one field: 55% of the weights (Simonyan and Zisserman 2014, section 2.3)",
        ("conv 7x7 64->64", "conv 3x3 64->64; conv 3x3 64->64; conv 3x3 64->64"),
    ),
    "stack5x5": (
        "One 5 x 5 against two 3 x 3: 72% of the weights (Szegedy et al. 2015, section 3.1)",
        ("conv 5x5 64->64", "conv 3x3 64->64; conv 3x3 64->64"),
    ),
    "factorised": (
        "7 x 7 as 1 x 7 and 7 x 1, or as three 3 x 3 (Szegedy et al. 2015, section 3.2)",
        ("conv 7x7 64->64", "conv 1x7 64->64; conv 7x1 64->64", "conv 3x3 64->64; conv 3x3 64->64; conv 3x3 64->64"),
    ),
    "inception_5x5": (
        "5 x 5 from 128 to 256 channels on 100 x 100, with and without a 1 x 1 of 32 before it",
        ("conv 5x5 128->256 @100", "conv 1x1 128->32 @100; conv 5x5 32->256"),
    ),
    "weight_sharing": (
        "A 1000 x 1000 image to a million units: fully connected, local 10 x 10, shared, and 100 shared kernels",
        (
            "fc 1->1000000 nobias @1000",
            "local 10x10 1->1 nobias @1000",
            "conv 10x10 1->1 nobias @1000",
            "conv 10x10 1->100 nobias @1000",
        ),
    ),
    "separable": (
        "A 3 x 3 convolution against depthwise and pointwise ones (Chollet 2016)",
        ("conv 3x3 256->256 @28", "conv 3x3 256->256 g=in linear @28; conv 1x1 256->256"),
    ),
    "cardinality": (
        "ResNet's bottleneck against ResNeXt's 32 x 4d at equal cost (Xie et al. 2016, table 1)",
        (
            "conv 1x1 256->64 @56; conv 3x3 64->64; conv 1x1 64->256",
            "conv 1x1 256->128 @56; conv 3x3 128->128 g=32; conv 1x1 128->256",
        ),
    ),
    "fire": (
        "SqueezeNet's fire2 against a 3 x 3 from 96 to 128 channels (Iandola et al. 2016, table 1)",
        ("conv 3x3 96->128 @55", "conv 1x1 96->16 @55; conv 1x1 16->64", "conv 1x1 96->16 @55; conv 3x3 16->64"),
    ),
    "fc_as_convolution": (
        "VGG-16's fc6 as a fully connected layer and as a 7 x 7 convolution",
        ("fc 512->4096 @7", "conv 7x7 512->4096 valid @7"),
    ),
    "without_pooling": (
        "VGG-16's fc6 behind five pools, and on maps that were never pooled",
        ("fc 512->4096 @7", "fc 512->4096 @224"),
    ),
}
"""name -> (what it shows, blocks); the surveys' own examples, and those that belong beside them."""
