"""What stands ready before the first step: the optimiser and the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim import Optimizer

from convatlas.analysis.trace import trace_network
from convatlas.structures import LearnsByItself, Shape, UsageError
from convatlas.training.optimizers import KrizhevskySGD, StochasticDiagonalLM, TensorFlowRMSProp
from convatlas.training.recipe import SGD, Adam, AdamW, DiagonalLM, OwnRule, Recipe, RMSProp

SMALL_STEP_MULTIPLY_ADDS = 8_000_000


@contextmanager
def few_threads(network: str, input_shape: Shape, batch_size: int) -> Iterator[None]:
    """One CPU thread where a step is too small to share: waiting at the barrier costs more than the others save.

    On a busy machine that wait is not a few percent but a factor of ten.
    """
    multiply_adds = sum(record.multiply_adds or 0 for record in trace_network(network, input_shape)) * batch_size
    threads = torch.get_num_threads()
    try:
        if multiply_adds < SMALL_STEP_MULTIPLY_ADDS:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def make_optimizer(recipe: Recipe, net: nn.Module) -> Optimizer | None:
    """The recipe's optimiser over the parameters of `net`; None where the network learns by a rule of its own."""
    if not isinstance(recipe.optimizer, OwnRule) and not any(p.requires_grad for p in net.parameters()):
        raise UsageError(f"--recipe {recipe.variant} needs gradients; {recipe.network} learns by a rule of its own")
    match recipe.optimizer:
        case OwnRule():
            if not isinstance(net, LearnsByItself):
                raise UsageError(f"optimizer OwnRule needs a network with a rule of its own; {recipe.network} has none")
            return None
        case DiagonalLM(mu=mu, patterns=patterns):
            if not isinstance(net, nn.Sequential):
                raise UsageError(f"optimizer DiagonalLM needs a chain of layers; {recipe.network} is none")
            return StochasticDiagonalLM(net, lr=recipe.schedule.rate(0.0, 0, 1), mu=mu, patterns=patterns)
        case AdamW(lr=lr, weight_decay=weight_decay):
            return torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=weight_decay)
        case Adam(lr=lr, weight_decay=weight_decay):
            return torch.optim.Adam(net.parameters(), lr=lr, weight_decay=weight_decay)
        case RMSProp() as rmsprop:
            return TensorFlowRMSProp(net.parameters(), **vars(rmsprop))
        case SGD(form="krizhevsky") as sgd:
            return KrizhevskySGD(net.parameters(), lr=sgd.lr, momentum=sgd.momentum, weight_decay=sgd.weight_decay)
        case SGD() as sgd:
            return torch.optim.SGD(
                net.parameters(),
                lr=sgd.lr,
                momentum=sgd.momentum,
                weight_decay=sgd.weight_decay,
                nesterov=sgd.nesterov,
            )
