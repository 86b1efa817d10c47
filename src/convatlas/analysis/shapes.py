"""Output shapes on `meta` of the functions that nearly all networks consist of.

torch knows them too, but first imports half of its compiler to say so, which costs more than a second. What is not
plainly valid is left to torch, which then says what is wrong with it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

KEEP_SHAPE = frozenset(
    {"batch_norm", "relu", "tanh", "sigmoid", "leaky_relu", "local_response_norm", "square", "neg", "index_copy"}
    | {"dropout", "sqrt"}
)
ELEMENTWISE = frozenset({"add", "sub", "mul", "div", "truediv", "rmul", "radd", "rsub", "addcmul"})

COMPARISONS = frozenset({"gt", "ge", "lt", "le"})


def quick_output(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The output of a function call on `meta`; None where torch has to be asked."""
    name = getattr(function, "__name__", "")
    first = args[0] if args else None
    if (name.endswith("_") and not name.startswith("__")) or name.startswith("__i") or kwargs.get("inplace"):
        known = name[:-1] in KEEP_SHAPE and isinstance(first, Tensor) and first.is_meta
        return first if known else None  # in place: the same tensor goes on
    name = name.strip("_")
    if name in ("cat", "concat") and isinstance(first, (tuple, list)):
        shape = _cat(first, *args[1:], **kwargs) if _all_meta(first) else None
        return _empty(shape, first[0]) if shape is not None else None
    if not isinstance(first, Tensor) or not _all_meta(args):
        return None
    if name == "dropout" and not kwargs.get("training", True):
        return first  # the same tensor goes on
    if name in KEEP_SHAPE:
        return _empty(tuple(first.shape), first)
    if name in COMPARISONS and len(args) == 2 and not isinstance(args[1], Tensor):
        return torch.empty(first.shape, dtype=torch.bool, device="meta")
    if name in ELEMENTWISE and not kwargs and first.is_floating_point():
        shape = _broadcast([tuple(arg.shape) for arg in args if isinstance(arg, Tensor)])
    elif name in RULES:
        shape = _rule(RULES[name], args, kwargs)
    else:
        return None
    return _empty(shape, first) if shape is not None else None


def _rule(rule: Callable[..., tuple[int, ...] | None], args: Any, kwargs: Any) -> tuple[int, ...] | None:
    try:
        return rule(*args, **kwargs)
    except TypeError:  # called in a way that the rule does not know
        return None


def _all_meta(values: Any) -> bool:
    tensors = [value for value in values if isinstance(value, Tensor)]
    return all(tensor.is_meta for tensor in tensors) and bool(tensors)


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...] | None:
    longest = max(map(len, shapes))
    columns = list(zip(*((1,) * (longest - len(shape)) + shape for shape in shapes), strict=True))
    if any(len({extent for extent in column if extent != 1}) > 1 for column in columns):
        return None
    return tuple(max(column) for column in columns)


def _cat(tensors: Any, dim: int = 0) -> tuple[int, ...] | None:
    shapes = [list(tensor.shape) for tensor in tensors]
    rests = {(*shape[:dim], *shape[dim:][1:]) for shape in shapes}
    if len(rests) > 1 or dim < 0:
        return None
    return (*shapes[0][:dim], sum(shape[dim] for shape in shapes), *shapes[0][dim + 1 :])


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[int, ...] | None:
    return (*x.shape[:-1], weight.shape[0]) if x.shape[-1] == weight.shape[1] else None


def _conv2d(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[int, ...] | None:
    if x.dim() != 4 or x.shape[1] != weight.shape[1] * groups or isinstance(padding, str):
        return None
    sides = _slide(x, tuple(weight.shape[2:]), stride, padding, dilation)
    return (x.shape[0], weight.shape[0], *sides) if sides else None


def _max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_: Any,
) -> tuple[int, ...] | None:
    window = (kernel_size, stride or kernel_size, padding, dilation)
    sides = _slide(x, *window, ceil_mode) if x.dim() == 4 else None
    return (*x.shape[:2], *sides) if sides else None


def _avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *_: Any, **__: Any
) -> tuple[int, ...] | None:
    return _max_pool2d(x, kernel_size, stride, padding, 1, ceil_mode)


def _adaptive_avg_pool2d(x: Tensor, output_size: Any) -> tuple[int, ...] | None:
    sides = _pair(output_size)
    return (*x.shape[:2], *sides) if x.dim() == 4 and None not in sides else None


def _slide(
    x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool = False
) -> tuple[int, int] | None:
    sides = [
        _positions(extent, k, s, p, d, ceil_mode)
        for extent, k, s, p, d in zip(
            x.shape[2:], _pair(kernel), _pair(stride), _pair(padding), _pair(dilation), strict=True
        )
    ]
    return (sides[0], sides[1]) if min(sides) > 0 else None


def _positions(extent: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    free = extent + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return free // stride + 1
    last = -(-free // stride)
    return last + (last * stride < extent + padding)  # no window starts in the padding on the far side


def _pair(value: Any) -> tuple[Any, Any]:
    if isinstance(value, (tuple, list)):
        return (value[0], value[-1])
    return (value, value)


def _sum(x: Tensor, dim: Any = None) -> tuple[int, ...] | None:
    return (*x.shape[:dim], *x.shape[dim + 1 :]) if isinstance(dim, int) and dim >= 0 else None


RULES: dict[str, Callable[..., tuple[int, ...] | None]] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "sum": _sum,
    "amax": _sum,
}
