"""Batch normalisation by the statistics of the whole batch, wherever its parts are.

torch's own SyncBatchNorm is for GPUs alone. This one joins the processes' means and the squared distances from them,
which loses no digits, and sums the two sums of the gradient in the backward pass: one exchange each way.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(net: nn.Module, device: torch.device) -> nn.Module:
    """The network with every batch normalisation over all processes, in place where it can be. Names stay."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for layer in net.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm):
            layer.__class__ = type(f"Synchronised{type(layer).__name__}", (_Synchronised, type(layer)), {})
    return net


class _Synchronised(_BatchNorm):
    """(B, C, ...) -> (B, C, ...); in eval mode the layer that it was."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name for it
        if not self.training:
            return super().forward(input)
        result, mean, variance, count = _normalise(input, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / max(count - 1, 1)), share)  # without bias, as torch keeps it
        return result


def _normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor, int]:
    """(normalised, mean, biased variance, values a channel over all processes)"""
    axes = [0, *range(2, x.ndim)]
    with torch.no_grad():
        own = x.numel() // x.shape[1]
        squares, means = torch.var_mean(x, axes, correction=0) if own else (x.new_zeros(x.shape[1]),) * 2
        mine = torch.cat((x.new_tensor([own]), means, squares * own))
        found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(found, mine)
        counts, means, squares = torch.stack(found).split((1, x.shape[1], x.shape[1]), dim=1)  # a row a process
        count = int(counts.sum())
        mean = (counts * means).sum(0) / count
        variance = (squares + counts * (means - mean).square()).sum(0) / count
    return _BatchNormOverProcesses.apply(x, weight, bias, mean, variance, count, eps), mean, variance, count


class _BatchNormOverProcesses(torch.autograd.Function):
    """y = (x - mean) / sqrt(variance + eps) weight + bias, where mean and variance depend on every process's x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Any, bias: Any, mean: Tensor, variance: Tensor, count: int, eps: float):
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, mean, variance = ctx.saved_tensors
        (dy,) = gradients
        axes = [0, *range(2, x.ndim)]
        scale = (variance + ctx.eps).rsqrt()
        centred = x - _across(mean, x)
        own = torch.stack((dy.sum(axes), (dy * centred).sum(axes)))  # (2, C)
        total = own.clone()
        dist.all_reduce(total)
        total /= ctx.count
        factor = scale if weight is None else scale * weight
        dx = dy - _across(total[0], x)
        dx = dx.addcmul_(centred, _across(total[1] * scale.square(), x), value=-1.0).mul_(_across(factor, x))
        learns = weight is not None
        return dx, own[1] * scale if learns else None, own[0] if learns else None, None, None, None, None


def _across(values: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, ...)"""
    return values.view(1, -1, *[1] * (x.ndim - 2))
