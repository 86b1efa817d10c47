"""The papers' own optimisers, where torch has no equal."""

# The _foreach functions are what torch's own optimisers are made of; there is no public name for them.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from convatlas.training.curvature import diagonal_curvature
from convatlas.training.losses import Loss


class KrizhevskySGD(Optimizer):
    """Momentum with the learning rate inside the velocity: v = m v - wd lr w - lr g; w = w + v.

    Krizhevsky et al. 2012, section 5. It differs from `torch.optim.SGD` in the steps after a change of the
    learning rate: there the old velocity is scaled by the new rate at once.
    """

    def __init__(self, params: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for p in weights:
                if "velocity" not in self.state[p]:
                    self.state[p]["velocity"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            velocities = [self.state[p]["velocity"] for p in weights]
            gradients = torch._foreach_add([p.grad for p in weights], weights, alpha=group["weight_decay"])
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            torch._foreach_add_(weights, velocities)


class TensorFlowRMSProp(Optimizer):
    """RMSProp as the Inception papers ran it: s = d s + (1 - d) g^2 from s = 1; v = m v + lr g / sqrt(s + eps); w -= v.

    Hinton's rule in TensorFlow's form. `torch.optim.RMSprop` starts from s = 0 and adds epsilon outside the root. With
    the papers' epsilon of 1 that is another method: where s is small torch divides by 1 + sqrt(s), this by 1 + s / 2.
    Weight decay is added to the gradient g.
    """

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, decay: float, eps: float, momentum: float, weight_decay: float
    ) -> None:
        defaults = {"lr": lr, "decay": decay, "eps": eps, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for p in weights:
                if "square" not in self.state[p]:
                    self.state[p]["square"] = torch.ones_like(p, memory_format=torch.preserve_format)
                    self.state[p]["velocity"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            squares = [self.state[p]["square"] for p in weights]
            velocities = [self.state[p]["velocity"] for p in weights]
            gradients = torch._foreach_add([p.grad for p in weights], weights, alpha=group["weight_decay"])
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["decay"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_addcdiv_(velocities, gradients, roots, value=group["lr"])
            torch._foreach_sub_(weights, velocities)


class StochasticDiagonalLM(Optimizer):
    """Each weight has a step of its own: lr / (mu + its second derivative).

    LeCun et al. 1998, section III.C (equation 18) and appendix C. The second derivatives are estimated on a
    few hundred patterns before each pass, by `estimate`, and kept for the pass. Step sizes are per pattern: the loss of
    a mini-batch is to be summed.
    """

    def __init__(self, net: nn.Sequential, *, lr: float, mu: float, patterns: int = 500) -> None:
        super().__init__(net.parameters(), {"lr": lr})
        self.net, self.mu, self.patterns = net, mu, patterns

    def estimate(self, x: Tensor, labels: Tensor, loss: Loss) -> None:
        """Renews the second derivatives from P patterns.  (P, C, H, W), (P,) -> state"""
        curvatures = diagonal_curvature(self.net, x, labels, loss)
        for name, parameter in self.net.named_parameters():
            self.state[parameter]["curvature"] = curvatures[name]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            scales = [self.state[p]["curvature"] + self.mu for p in weights]
            torch._foreach_addcdiv_(weights, [p.grad for p in weights], scales, value=-group["lr"])
