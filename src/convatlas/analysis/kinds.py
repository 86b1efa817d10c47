"""Kinds of operations, and how many connections and multiply-adds each has.

The convention: a multiply-add is one use of a weight of a convolution or a fully connected layer, or one term of a
product of matrices. Biases, normalisation, pooling, interpolation, activations and additions have none (`flops` counts
them). Connections add one per bias and output position.
"""

import math
from typing import Any

from torch import Tensor, nn

# By class name along the method resolution order, so that subclasses and own layers of the same name are found too.
MODULE_KINDS = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), "conv"),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), "deconv"),
    "Linear": "fc",
    **dict.fromkeys(("MaxPool1d", "MaxPool2d", "MaxPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d"), "maxpool"),
    **dict.fromkeys(("AvgPool1d", "AvgPool2d", "AvgPool3d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d"), "avgpool"),
    "AdaptiveAvgPool3d": "avgpool",
    "ConvolutionBackward": "deconv",
    "MaxUnpool2d": "unpool",
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "FrozenBatchNorm2d"), "batchnorm"),
    "GroupNorm": "groupnorm",
    "LayerNorm": "layernorm",
    **dict.fromkeys(("LocalResponseNorm", "CrossMapLRN2d", "WithinChannelNorm"), "lrn"),
    "L2Norm": "l2norm",
    "ReLU": "relu",
    "ReLU6": "relu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "prelu",
    "ELU": "elu",
    "SELU": "selu",
    "GELU": "gelu",
    "Tanh": "tanh",
    "ScaledTanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d"), "dropout"),
    "Identity": "identity",
    "Flatten": "flatten",
    "Unflatten": "view",
    **dict.fromkeys(("ZeroPad2d", "ConstantPad2d", "ReflectionPad2d", "ReplicationPad2d"), "pad"),
    "Upsample": "interpolate",
    "RoIMaxPool": "roi_pool",
    "RoIAlign": "roi_align",
    "SpatialPyramidPool": "spp",
    "Crop": "crop",
    "MeanField": "mean_field",
    "SparseConv2d": "sparse_conv",
    "SubSampling": "subsampling",
    "EuclideanRBF": "rbf",
    "Join": "join",
    "GatherDistribute": "gather_distribute",
    "AssociationLayer": "association",
    "SCells": "s_cells",
    "CCells": "c_cells",
    "NamedPlanes": "named_planes",
    "Hog": "hog",
    "SiftWords": "sift_words",
}

FUNCTION_KINDS = {
    **dict.fromkeys(("add", "sub", "mul", "div", "neg", "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs"), None),
    **dict.fromkeys(("gt", "ge", "lt", "le", "clamp_min"), None),
    **dict.fromkeys(("addcmul", "clamp", "maximum", "minimum", "sum", "mean", "amax", "max", "min"), None),
    **dict.fromkeys(("relu", "leaky_relu", "tanh", "sigmoid", "softmax", "log_softmax", "dropout"), None),
    **dict.fromkeys(("cat", "stack", "pad", "batch_norm", "zeros_like", "new_zeros", "clone", "contiguous"), None),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d"), "maxpool"),
    **dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d"), "avgpool"),
    **dict.fromkeys(("concat", "concatenate"), "cat"),
    **dict.fromkeys(("rsub",), "sub"),
    **dict.fromkeys(("truediv",), "div"),
    "local_response_norm": "lrn",
    "flatten": "flatten",
    "getitem": "slice",
    **dict.fromkeys(("narrow", "chunk", "split", "split_with_sizes", "select", "unbind"), "slice"),
    **dict.fromkeys(("view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "expand", "T", "mT"), "view"),
    **dict.fromkeys(("data", "detach", "to", "float", "view_as", "reshape_as", "swapaxes", "movedim"), "view"),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "conv"),
    "linear": "fc",
    **dict.fromkeys(("matmul", "mm", "bmm"), "matmul"),
    "upsample": "interpolate",
    "interpolate": None,
    "roi_pool": None,
    "roi_align": None,
}

UNCOUNTED = frozenset({"hog", "sift_words", "mean_field"})  # layers whose arithmetic is no sum of weighted inputs

VIEWS = frozenset({"view", "flatten"})  # other shapes of the same values


def module_kind(module: nn.Module) -> str | None:
    """The kind of a layer that torch or the atlas defines; None for any other module."""
    return next((MODULE_KINDS[cls.__name__] for cls in type(module).__mro__ if cls.__name__ in MODULE_KINDS), None)


def function_name(function: Any) -> str:
    """`add` for Tensor.__add__, __iadd__, __radd__, add_ and torch.add; `T` for the attribute."""
    name = getattr(function, "__name__", type(function).__name__)
    if name == "__get__":
        name = getattr(function.__self__, "__name__", name)
    name = name.strip("_")
    if name not in FUNCTION_KINDS and name[:1] in ("i", "r") and name[1:] in FUNCTION_KINDS:
        name = name[1:]
    return name


def function_kind(name: str) -> tuple[str, bool]:
    """(kind, whether it is known to have no multiply-adds) of a function by its normalised name."""
    if name not in FUNCTION_KINDS:
        return name, False
    kind = FUNCTION_KINDS[name] or name
    return kind, kind not in ("conv", "fc", "matmul")


def product_counts(left: Tensor, out: Tensor) -> tuple[int, int]:
    """(connections, multiply-adds) of a product of matrices, one sample: no weight of its own is used."""
    return 0, math.prod(out.shape[1:]) * left.shape[-1]


def weight_counts(kind: str, weight: Tensor, bias: Tensor | None, source: Tensor, out: Tensor) -> tuple[int, int]:
    """(connections, multiply-adds) of a convolution, its transpose or a fully connected layer, one sample.

    Each weight of a convolution is used once per output position, of a transposed one once per input position.
    """
    if kind == "fc":
        positions = math.prod(out.shape[1:-1])
    else:
        positions = math.prod((source if kind == "deconv" else out).shape[2:])
    multiply_adds = weight.numel() * positions
    return multiply_adds + (out[0].numel() if bias is not None else 0), multiply_adds
