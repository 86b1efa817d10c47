"""How an operation slides over its input."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Window:
    """Per spatial axis; None where the operation has no such thing."""

    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    groups: int | None = None


def module_window(module: nn.Module, sources: list[Tensor], outputs: list[Tensor]) -> Window:
    """The window of a layer; an adaptive pooling has one where its windows are of equal size."""
    axes = outputs[0].dim() - 2
    if "Adaptive" in type(module).__name__:
        extents = list(zip(sources[0].shape[2:], outputs[0].shape[2:], strict=False))
        if not extents or any(extent % out for extent, out in extents):
            return Window()  # windows of unequal size
        kernel = tuple(extent // out for extent, out in extents)
        stride = tuple(k if out > 1 else 1 for k, (_, out) in zip(kernel, extents, strict=True))
        return Window(kernel, stride, (0,) * len(kernel))
    if getattr(module, "kernel_size", None) is None:
        return Window()
    kernel = _per_axis(module.kernel_size, axes)
    dilation = _per_axis(getattr(module, "dilation", 1), axes)
    padding = getattr(module, "padding", 0)
    if isinstance(padding, str):
        padding = tuple(d * (k - 1) // 2 if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True))
    groups = getattr(module, "groups", None)
    stride = _per_axis(getattr(module, "stride", 1), axes)
    return Window(kernel, stride, _per_axis(padding, axes), dilation, groups if isinstance(groups, int) else None)


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),) * axes


def slice_steps(index: Any, dimensions: int) -> tuple[int, ...] | None:
    """The steps of `x[:, :, ::2, ::2]` along the spatial axes; None where the slice only crops."""
    parts = index if isinstance(index, tuple) else (index,)
    if len(parts) != dimensions or not all(isinstance(part, slice) for part in parts):
        return None
    steps = tuple(part.step or 1 for part in parts[2:])
    whole = all(part.start in (None, 0) and part.stop is None for part in parts)
    return steps if whole and any(step > 1 for step in steps) else None
