"""A network whose parameters and optimiser are spread over the processes (torch's FSDP2), for what one does not hold.

Files hold whole tensors under plain names: the weights may be used, and a run go on, on any number of processes.
"""

from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer

from convatlas.structures import UsageError
from convatlas.training.distributed import Processes
from convatlas.training.recipe import DiagonalLM, OwnRule, Recipe

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(net: nn.Module, recipe: Recipe, processes: Processes) -> nn.Module:
    """Spreads a network over the processes, in place: its larger children each for itself, then the rest.

    Raises:
        UsageError: a mechanism of the recipe has no place there.
    """
    for name, unfit in (
        ("precision = fp16", recipe.precision == "fp16"),
        ("averaging", recipe.averaging is not None),
        ("compile", recipe.compile is True),
        (f"optimizer = {type(recipe.optimizer).__name__}", isinstance(recipe.optimizer, DiagonalLM | OwnRule)),
    ):
        if unfit:
            raise UsageError(f"shard = true does not go with {name}; without it each process holds the whole network")
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    for child in net.children():
        if any(True for _ in child.parameters()):
            fully_shard(child, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def whole_weights(net: nn.Module) -> dict[str, Tensor]:
    """The whole tensors on the first process, nothing on the others. All processes call it together."""
    return get_model_state_dict(net, options=_WHOLE)  # pyright: ignore[reportReturnType]


def whole_optimizer(net: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state by the names of the parameters, on the first process."""
    return get_optimizer_state_dict(net, optimizer, options=_WHOLE)  # pyright: ignore[reportReturnType]


def load_whole_weights(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives each process its part of what `whole_weights` found; all of them have the whole in hand."""
    set_model_state_dict(net, weights, options=_WHOLE)  # pyright: ignore[reportArgumentType]


def load_whole_optimizer(net: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Gives each process its part of what `whole_optimizer` found."""
    set_optimizer_state_dict(net, optimizer, state, options=_WHOLE)
