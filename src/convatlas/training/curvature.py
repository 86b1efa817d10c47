"""The diagonal of the Hessian, propagated backwards like the gradient.

LeCun, Bottou, Bengio, Haffner 1998, appendix C. In the Levenberg-Marquardt approximation the second derivative of the
squashing function is dropped, so that nothing is negative; off-diagonal terms are dropped; connections that share a
weight add up. A layer that is linear in its weights then propagates curvature as it propagates the gradient, with
weights and inputs squared.
"""

import copy
from functools import singledispatch

import torch
from torch import Tensor, nn

from convatlas.architectures.classification.lenet import EuclideanRBF, SparseConv2d, SubSampling
from convatlas.blocks.activation import ScaledTanh
from convatlas.training.losses import Loss

Curvatures = dict[str, Tensor]  # by parameter name, summed over patterns


def diagonal_curvature(net: nn.Sequential, x: Tensor, labels: Tensor, loss: Loss) -> Curvatures:
    """Mean over P patterns of the second derivative of the loss by each parameter.  (P, C, H, W), (P,) -> by name

    Raises:
        TypeError: a layer of the chain has no rule here.
    """
    inputs: list[Tensor] = []
    result: Curvatures = {}
    with torch.no_grad():
        for layer in net:
            inputs.append(x)
            x = layer(x)
        slope, curvature = loss.derivatives(x, labels)
        for (name, layer), layer_input in zip(reversed([*net.named_children()]), reversed(inputs), strict=True):
            curvature, own = propagate(layer, layer_input, curvature, slope)
            result |= {f"{name}.{parameter}": value / len(labels) for parameter, value in own.items()}
    return result


@singledispatch
def propagate(layer: nn.Module, x: Tensor, curvature: Tensor, slope: Tensor) -> tuple[Tensor, Curvatures]:
    """Curvature at a layer's output -> curvature at its input, and by its own parameters.

    `slope` is the loss's first derivative by the logits; only an output layer that is not linear in its input needs it.
    """
    raise TypeError(f"no curvature rule for {type(layer).__name__}")


@propagate.register(nn.Conv2d)
@propagate.register(nn.Linear)
@propagate.register(nn.Flatten)
def _linear(layer: nn.Module, x: Tensor, curvature: Tensor, slope: Tensor) -> tuple[Tensor, Curvatures]:
    squares = {name: parameter.detach().square() for name, parameter in layer.named_parameters()}
    backward = torch.func.vjp(lambda x, weights: torch.func.functional_call(layer, weights, (x,)), x.square(), squares)[
        1
    ]
    return backward(curvature)


@propagate.register
def _sparse(layer: SparseConv2d, x: Tensor, curvature: Tensor, slope: Tensor) -> tuple[Tensor, Curvatures]:
    squared = copy.copy(layer)
    squared.background = layer.background**2  # pixels outside the image are inputs like the others
    return _linear(squared, x, curvature, slope)


@propagate.register
def _scaled_tanh(layer: ScaledTanh, x: Tensor, curvature: Tensor, slope: Tensor) -> tuple[Tensor, Curvatures]:
    return curvature * layer.derivative(x).square(), {}


@propagate.register
def _sub_sampling(layer: SubSampling, x: Tensor, curvature: Tensor, slope: Tensor) -> tuple[Tensor, Curvatures]:
    at_sums = curvature * layer.coefficient.square()
    own = {
        "coefficient": (curvature * layer.sums(x).square()).sum(dim=(0, 2, 3)).view_as(layer.coefficient),
        "bias": curvature.sum(dim=(0, 2, 3)).view_as(layer.bias),
    }
    return at_sums.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), own


@propagate.register
def _rbf(layer: EuclideanRBF, x: Tensor, curvature: Tensor, slope: Tensor) -> tuple[Tensor, Curvatures]:
    differences = x.unsqueeze(1) - layer.codes  # B x K x 84
    # The logit is -d^2: its first derivative is -2 d, its second is -2 and must stay, or eq. 8 would have no curvature.
    return (4 * differences.square() * curvature.unsqueeze(2) - 2 * slope.unsqueeze(2)).sum(dim=1), {}
