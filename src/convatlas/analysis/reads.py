"""Which positions of its inputs an output position of an operation reads, from a layer's or a call's arguments.

Spatial dimensions are all but the batch and the first one after it. What is not known is None, and whoever asks says
so.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from convatlas.records import Along, Reads

SAME, RESHAPE, ALL = Reads("same"), Reads("reshape"), Reads("all")

POINTWISE_KINDS = frozenset(
    {"relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "tanh", "sigmoid", "batchnorm", "lrn", "dropout"}
    | {"l2norm", "identity", "join"}
)
POINTWISE_FUNCTIONS = frozenset(
    {"add", "sub", "mul", "div", "truediv", "neg", "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs", "addcmul"}
    | {
        "clamp",
        "clamp_min",
        "maximum",
        "minimum",
        "relu",
        "leaky_relu",
        "tanh",
        "sigmoid",
        "dropout",
        "batch_norm",
        "rsub",
        "gelu",
    }
    | {"clone", "contiguous", "data", "detach", "to", "float", "local_response_norm", "expand", "gt", "ge", "lt", "le"}
    | {"where", "hardtanh", "silu", "softplus", "prelu", "elu", "selu", "type_as", "positive"}
)
RESHAPES = frozenset({"view", "reshape", "flatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "unflatten"})
WINDOWS = frozenset({"conv", "maxpool", "avgpool", "subsampling", "sparse_conv"})
SPREADS = frozenset({"deconv", "unpool"})


def module_reads(module: nn.Module, kind: str, window: Any, source: Tensor) -> Reads | None:
    """Of a layer of known kind; `window` is its `Window`."""
    dims = source.dim() - 1
    if kind in ("roi_pool", "roi_align"):
        return slide(dims, [Along("adaptive")] * (dims - 1))  # of a region that is the whole image, as traced
    if kind in POINTWISE_KINDS and not (kind == "lrn" and window.kernel):
        return SAME
    if kind in WINDOWS | SPREADS or kind == "lrn":
        if "Adaptive" in type(module).__name__:
            return slide(dims, [Along("adaptive")] * (dims - 1))
        if window.kernel is None:
            return None
        rule = "spread" if kind in SPREADS else "window"
        numbers = (window.kernel, window.stride, window.padding, window.dilation or (1,) * len(window.kernel))
        return slide(dims, [Along(rule, *four) for four in zip(*numbers, strict=True)])
    if kind in ("flatten", "view"):
        return RESHAPE
    if kind in ("fc", "rbf"):
        return Reads("contract", (dims - 1,))
    if kind in ("softmax", "log_softmax"):
        return _mix(dims, getattr(module, "dim", None))
    if kind == "layernorm":
        return Reads("mix", tuple(range(dims))[-len(module.normalized_shape) :])  # type: ignore[arg-type]
    if kind == "groupnorm":
        return Reads("mix", tuple(range(dims)))
    if kind == "pad":
        padding = tuple(module.padding)  # type: ignore[arg-type]
        mode = "reflect" if "Reflection" in type(module).__name__ else "constant"
        return _pad(source, padding, "replicate" if "Replication" in type(module).__name__ else mode)
    if kind == "crop":
        return slide(dims, [Along("window", padding=-module.offset)] * (dims - 1))  # type: ignore[arg-type]
    if kind == "interpolate":
        return _interpolate(source, module.size, module.scale_factor, module.mode, module.align_corners)  # type: ignore[arg-type]
    return ALL if kind in ("gather_distribute", "mean_field", "spp") else None


def function_reads(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], sources: int) -> Reads | None:
    """Of a function called outside any layer; `sources`: how many of its tensors come from the network's input."""
    if name in POINTWISE_FUNCTIONS:
        return SAME
    if name in RESHAPES:
        return RESHAPE
    if name == "matmul":
        return Reads("contract", (args[0].dim() - 2,)) if sources == 1 and args[0].dim() > 1 else ALL
    if name in ("bmm", "baddbmm", "scaled_dot_product_attention", "einsum"):
        return ALL
    try:
        return RULES[name](*args, **kwargs) if name in RULES else None
    except TypeError:  # called in a way that the rule does not know
        return None


def slide(dims: int, along: list[Along]) -> Reads:
    return Reads("slide", tuple(range(dims - len(along), dims)), tuple(along))


def _without_batch(x: Tensor, dim: Any) -> tuple[int, ...] | None:
    """Dimensions as torch takes them, counted without the batch; None where one is the batch."""
    found = tuple(int(d) % x.dim() - 1 for d in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    return None if -1 in found else found


def _mix(dims: int, dim: object) -> Reads | None:
    if not isinstance(dim, int) or dim % (dims + 1) == 0:
        return None
    return Reads("mix", (dim % (dims + 1) - 1,))


def _reduce(x: Tensor, dim: object = None, *_: object, **__: object) -> Reads | None:
    dims = tuple(range(-1, x.dim() - 1)) if dim is None else _without_batch(x, dim)
    return None if dims is None or -1 in dims else Reads("mix", dims)


def _softmax(x: Tensor, dim: object = None, *_: object, **__: object) -> Reads | None:
    return _mix(x.dim() - 1, dim)


def _pad(x: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Reads | None:
    before = [int(extent) for extent in pad[::2]][::-1]
    rules = {"constant": "window", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
    if len(before) >= x.dim() or mode not in rules:
        return None
    return slide(x.dim() - 1, [Along(rules[mode], padding=extent) for extent in before])  # type: ignore[arg-type]


def _interpolate(
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Reads | None:
    axes = x.dim() - 2
    if antialias or recompute_scale_factor:
        return None
    rules = {"nearest": "nearest", "bilinear": "linear", "linear": "linear", "trilinear": "linear", "bicubic": "cubic"}
    if mode not in rules:
        return ALL if mode == "area" else None
    if size is not None:
        sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * axes
        scales = [extent / int(out) for extent, out in zip(x.shape[2:], sizes, strict=True)]
    else:
        factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * axes
        scales = [1 / float(factor) for factor in factors]
    return slide(
        x.dim() - 1,
        [Along(rules[mode], scale=scale, corners=bool(align_corners)) for scale in scales],  # type: ignore[arg-type]
    )


def _getitem(x: Tensor, index: Any) -> Reads | None:
    parts: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, slice) for part in parts) or parts[0] != slice(None):
        return None
    moved = [(dim, part) for dim, part in enumerate(parts[1:]) if part != slice(None)]
    along = []
    for dim, part in moved:
        start, _, step = part.indices(x.shape[dim + 1])
        along.append(Along("window", stride=step, padding=-start))
    return Reads("slide", tuple(dim for dim, _ in moved), tuple(along))


def _narrow(x: Tensor, dim: int, start: int, length: int) -> Reads | None:
    dims = _without_batch(x, dim)
    return Reads("slide", dims, (Along("window", padding=-start),)) if dims else None


def _parts(x: Tensor, size: object, dim: int = 0) -> Reads | None:
    """Chunks and splits: the trace does not tell them apart, so their dimension must not be a spatial one."""
    dims = _without_batch(x, dim)
    return Reads("cat", dims) if dims else None


def _cat(tensors: Any, dim: int = 0) -> Reads | None:
    dims = _without_batch(tensors[0], dim)
    return Reads("cat", dims) if dims else None


def _transpose(x: Tensor, first: int, second: int) -> Reads | None:
    order = list(range(x.dim()))
    order[first], order[second] = order[second], order[first]
    return _permute(x, order)


def _permute(x: Tensor, *order: Any) -> Reads | None:
    order = order[0] if len(order) == 1 else order
    dims = tuple(int(dim) % x.dim() - 1 for dim in order)
    return Reads("permute", dims[1:]) if dims[0] == -1 else None


def _movedim(x: Tensor, source: int, destination: int) -> Reads | None:
    order = list(range(x.dim()))
    order.insert(destination % x.dim(), order.pop(source % x.dim()))
    return _permute(x, order)


def _unfold(x: Tensor, dim: int, size: int, step: int) -> Reads | None:
    dims = _without_batch(x, dim)
    return Reads("unfold", dims, (Along("window", kernel=size, stride=step),)) if dims else None


def _pool(
    x: Tensor, kernel_size: object, stride: object = None, padding: object = 0, *_: object, **__: object
) -> Reads | None:
    axes = x.dim() - 2
    per_axis = [
        v if isinstance(v, (tuple, list)) else (v,) * axes for v in (kernel_size, stride or kernel_size, padding)
    ]
    return slide(x.dim() - 1, [Along("window", *three) for three in zip(*per_axis, strict=True)])


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: object = None,
    stride: object = 1,
    padding: object = 0,
    dilation: object = 1,
    groups: int = 1,
) -> Reads | None:
    axes, kernel = x.dim() - 2, tuple(weight.shape[2:])
    if isinstance(padding, str):
        return None
    per_axis = [v if isinstance(v, (tuple, list)) else (v,) * axes for v in (stride, padding, dilation)]
    return slide(x.dim() - 1, [Along("window", *four) for four in zip(kernel, *per_axis, strict=True)])


def _adaptive(x: Tensor, output_size: object) -> Reads:
    return slide(x.dim() - 1, [Along("adaptive")] * (x.dim() - 2))


RULES: dict[str, Callable[..., Reads | None]] = {
    **dict.fromkeys(("mean", "sum", "amax", "amin", "logsumexp", "var", "std"), _reduce),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _parts),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "max_pool2d_with_indices"), _pool),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive),
    **dict.fromkeys(("transpose", "swapaxes"), _transpose),
    "linear": lambda x, *_: Reads("contract", (x.dim() - 2,)),
    "pad": _pad,
    "interpolate": _interpolate,
    "getitem": _getitem,
    "narrow": _narrow,
    "permute": _permute,
    "movedim": _movedim,
    "unfold": _unfold,
}
