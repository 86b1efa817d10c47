"""Floating-point operations of one record, under one convention that is stated here.

An addition, multiplication, division, comparison, exponential, logarithm, power or root is one operation. So a
multiply-add is two and a bias one. In evaluation mode batch normalisation is one scale and one shift. What only moves
values (concatenation, padding, slices, dropout when it is off) has none.
"""

import math

from convatlas.analysis.kinds import VIEWS
from convatlas.records import LayerRecord

MOVES = VIEWS | {
    "cat",
    "stack",
    "pad",
    "slice",
    "subsample",
    "dropout",
    "identity",
    "clone",
    "contiguous",
    "zeros_like",
}
MOVES |= {"new_zeros", "unpool", "detach", "to"}
PER_OUTPUT = {
    **dict.fromkeys(("add", "sub", "mul", "div", "neg", "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs"), 1),
    **dict.fromkeys(("maximum", "minimum", "relu", "tanh"), 1),
    **dict.fromkeys(("batchnorm", "batch_norm", "addcmul", "clamp", "leaky_relu", "prelu"), 2),
    **dict.fromkeys(("sigmoid", "elu"), 3),  # exp, add, divide; compare, exp, subtract
    "selu": 4,
    "gelu": 5,
    **dict.fromkeys(("softmax", "log_softmax"), 5),  # largest, subtract, exp, sum, divide
    "roi_align": 32,  # four bilinear samples of 7, their sum and a division
    "lrn": 7,  # square, a sum that gains one map and loses one, scale, shift, power, divide
    "l2norm": 4,  # square, sum, divide, scale; the roots are one for each position
    **dict.fromkeys(("layernorm", "groupnorm"), 8),  # mean 1, variance 3, normalise 2, scale and shift 2
}
PER_INPUT = dict.fromkeys(("sum", "mean", "amax", "max", "min", "roi_pool"), 1)
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}  # values read along an axis


def flops(record: LayerRecord) -> int | None:
    """Of one sample; None where the operation is not counted.

    RoI pooling is counted as if each region were the whole map: how large regions are, the shapes do not say.
    """
    outputs = math.prod(record.output_shape)
    if record.kind in MOVES:
        return 0
    if record.kind == "lrn" and record.kernel:  # square, the window's sum and mean, scale, shift, power, divide
        return (math.prod(record.kernel) + 5) * outputs
    if record.kind == "spp":
        return None  # bins overlap, and the record does not say how many levels there are
    if record.kind in PER_OUTPUT:
        return PER_OUTPUT[record.kind] * outputs
    if record.kind in PER_INPUT:
        return PER_INPUT[record.kind] * _regions(record) * math.prod(record.input_shapes[0])
    if record.kind in ("maxpool", "avgpool"):
        return _pooling(record)
    if record.kind == "interpolate":
        along = record.reads.along if record.reads else ()
        taps = math.prod(TAPS[axis.rule] for axis in along)
        return (2 * taps - 1) * outputs if taps > 1 else 0 if along else None
    if record.kind == "join":
        return len(record.inputs) * outputs  # a sum of columns and a division
    if record.connections is None or record.multiply_adds is None:
        return None
    biases = record.connections - record.multiply_adds if record.connections else 0
    return 2 * record.multiply_adds + max(biases, 0)


def _regions(record: LayerRecord) -> int:
    """How many regions an operation pools; 1 for any other."""
    if record.kind != "roi_pool":
        return 1
    each = 8 if "/" in record.name else 4  # torchvision's function gives a value and its place, a layer the value alone
    return record.output_bytes // (each * math.prod(record.output_shape))


def _pooling(record: LayerRecord) -> int:
    """A window of k values has k - 1 comparisons, or k - 1 additions and a division."""
    outputs = math.prod(record.output_shape)
    if record.kernel is None:  # windows of unequal size, which together read each value about once
        return math.prod(record.input_shapes[0])
    return outputs * (math.prod(record.kernel) - (record.kind == "maxpool"))
