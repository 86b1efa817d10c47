"""The diagonal of the Hessian, propagated backwards like the gradient."""

from functools import singledispatch

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.lenet import EuclideanRBF, SparseConv2d, SubSampling
from convatlas.blocks.activation import ScaledTanh


@singledispatch
def propagate(layer: nn.Module, x: Tensor, slope: Tensor, curvature: Tensor):
    raise TypeError(type(layer))


@propagate.register
def _(layer: ScaledTanh, x, slope, curvature):
    return curvature * layer.derivative(x).square(), {}


@propagate.register
def _(layer: SubSampling, x, slope, curvature):
    up = curvature * layer.coefficient.square()
    return up.repeat_interleave(2, 2).repeat_interleave(2, 3), {
        "coefficient": (curvature * layer.sums(x).square()).sum((0, 2, 3)).view_as(layer.coefficient),
        "bias": curvature.sum((0, 2, 3)).view_as(layer.bias),
    }


@propagate.register
def _(layer: EuclideanRBF, x, slope, curvature):
    d = x.unsqueeze(1) - layer.codes
    return (curvature.unsqueeze(2) * 4 * d.square() - 2 * slope.unsqueeze(2)).sum(1), {}


@propagate.register(nn.Conv2d)
@propagate.register(nn.Linear)
@propagate.register(SparseConv2d)
@propagate.register(nn.Flatten)
def _(layer, x, slope, curvature):
    squared = {n: p.detach().square() for n, p in layer.named_parameters()}

    def f(x2, params):
        return torch.func.functional_call(layer, params, (x2,))

    _, vjp = torch.func.vjp(f, x.square(), squared)
    hx, hp = vjp(curvature)
    return hx, hp


def diagonal_curvature(net: nn.Sequential, x: Tensor, target: Tensor, loss):
    inputs = []
    with torch.no_grad():
        out = x
        for layer in net:
            inputs.append(out)
            out = layer(out)
    slope, curvature = loss.derivatives(out, target)
    result = {}
    with torch.no_grad():
        for (name, layer), a in zip(reversed(list(net.named_children())), reversed(inputs), strict=True):
            curvature, own = propagate(layer, a, slope, curvature)
            for k, v in own.items():
                result[f"{name}.{k}"] = v / len(x)
    return result
