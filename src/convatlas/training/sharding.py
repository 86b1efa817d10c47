"""A network whose parameters and optimiser are spread over the processes (torch's FSDP2), for what one does not hold.

Files hold whole tensors under plain names: the weights may be used, and a run go on, on any number of processes.
"""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from convatlas.errors import UsageError
from convatlas.lazy import Lazy
from convatlas.training.distributed import Processes
from convatlas.training.recipe import DiagonalLM, OwnRule, Recipe

fsdp, device_mesh = Lazy("torch.distributed.fsdp"), Lazy("torch.distributed.device_mesh")
states = Lazy("torch.distributed.checkpoint.state_dict")


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
    mesh = device_mesh.init_device_mesh(processes.device.type, (processes.count,))
    for child in net.children():
        if any(True for _ in child.parameters()):
            fsdp.fully_shard(child, mesh=mesh)
    fsdp.fully_shard(net, mesh=mesh)
    return net


def whole_weights(net: nn.Module) -> dict[str, Tensor]:
    """The whole tensors on the first process, nothing on the others. All processes call it together."""
    return states.get_model_state_dict(net, options=_whole())


def whole_optimizer(net: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser's state by the names of the parameters, on the first process."""
    return states.get_optimizer_state_dict(net, optimizer, options=_whole())


def load_whole_weights(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Gives each process its part of what `whole_weights` found; all of them have the whole in hand."""
    states.set_model_state_dict(net, weights, options=_whole())


def load_whole_optimizer(net: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Gives each process its part of what `whole_optimizer` found."""
    states.set_optimizer_state_dict(net, optimizer, state, options=_whole())


def _whole() -> Any:
    return states.StateDictOptions(full_state_dict=True, cpu_offload=True)
