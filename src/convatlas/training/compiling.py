"""torch.compile over the forward pass and the loss, where the run is long enough to win the compiling back."""

from collections.abc import Callable
from typing import Any

import torch

from convatlas.analysis.trace import trace_network
from convatlas.records import Shape
from convatlas.training.own_losses import OwnLosses
from convatlas.training.recipe import OwnRule, Recipe

Note = Callable[[str], None]

# Compiling takes half a minute to two minutes and saves a fifth to a third of the time after it. A CPU does some 50
# thousand million multiply-adds a second; below ten minutes of them the run may not win the wait back.
WORTH_MULTIPLY_ADDS = 600 * 50e9
WORTH_MULTIPLY_ADDS_GPU = 120 * 5e12


def choose(
    recipe: Recipe, input_shape: Shape, samples: int, device: torch.device, on_note: Note | None
) -> Callable[[Callable], Callable] | None:
    """What makes a function faster, by the recipe's `compile`; None: nothing does."""
    if recipe.compile is False or isinstance(recipe.optimizer, OwnRule):
        return None
    if recipe.compile == "auto" and isinstance(recipe.loss, OwnLosses):  # its shapes follow the objects
        return None
    if recipe.compile == "auto" and not is_long(recipe, input_shape, samples, device):
        return None
    return lambda function: Compiled(function, on_note)


def is_long(recipe: Recipe, input_shape: Shape, samples: int, device: torch.device) -> bool:
    """Whether the training has enough multiply-adds (three times those of the forward passes) for compiling to pay."""
    each = 3 * sum(record.multiply_adds or 0 for record in trace_network(recipe.network, input_shape))
    worth = WORTH_MULTIPLY_ADDS if device.type == "cpu" else WORTH_MULTIPLY_ADDS_GPU
    return each * samples * recipe.epochs >= worth


class Compiled:
    """A compiled function, or the function itself where this machine can't compile it (no C++ compiler, say)."""

    def __init__(self, function: Callable, on_note: Note | None) -> None:
        self._plain, self._on_note = function, on_note
        self._function: Callable = torch.compile(function, dynamic=False)
        self._proved = False

    def __call__(self, *arguments: Any) -> Any:
        if self._proved:
            return self._function(*arguments)
        from torch._dynamo.exc import TorchDynamoException

        try:
            result = self._function(*arguments)
        except TorchDynamoException as error:
            if self._on_note:
                reason = str(error).strip().splitlines()[0]
                self._on_note(f"torch.compile can't be used here, training goes on without it: {reason}")
            self._function, result = self._plain, self._plain(*arguments)
        self._proved = True
        return result
