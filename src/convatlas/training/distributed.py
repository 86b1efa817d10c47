"""The processes of a run: one, or several under torchrun, on one machine or many.

torch's DDP or FSDP carries the gradients, over gloo on CPUs and nccl on GPUs. A run on one process needs neither and
pays for neither.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from convatlas.errors import ConvatlasError, UsageError

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)  # a process that does not answer for so long is taken for dead


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    device: torch.device
    rank: int = 0
    count: int = 1
    side: Any = None  # gloo, for numbers on the CPU beside nccl's on the GPU

    @property
    def first(self) -> bool:
        """The one that writes and speaks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, on the CPU, in float64: the same on each."""
        total = values.detach().to("cpu", torch.float64)
        if self.count > 1:
            dist.all_reduce(total, group=self.side)
        return total

    def most(self, value: int) -> int:
        """The largest of the processes' values."""
        if self.count == 1:
            return value
        found = torch.tensor(value)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.side)
        return int(found)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, of any number each, on the CPU.  (n, ...) -> (sum of n, ...)"""
        if self.count == 1:
            return rows
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, rows.cpu(), group=self.side)
        return torch.cat(found)

    def first_does(self, action: Callable[[], object]) -> None:
        """The first process does something that may fail; where it does, all of them end."""
        if self.count == 1:
            action()
            return
        failure: BaseException | None = None
        if self.first:
            try:
                action()
            except BaseException as error:
                failure = error
        failed = self.most(int(failure is not None))
        if failure is not None:
            raise failure
        if failed:
            raise ConvatlasError("the first process can't go on, its own message says why; this one ends with it")

    def from_first(self, find: Callable[[], T]) -> T:
        """What the first process finds, on all of them."""
        if self.count == 1:
            return find()
        found: list[Any] = [None]
        self.first_does(lambda: found.__setitem__(0, find()))
        dist.broadcast_object_list(found, group=self.side)
        return found[0]

    def share(self, net: nn.Module, *, unused: bool) -> nn.Module:
        """The network whose gradients are averaged over the processes; on one process the network itself.

        Args:
            unused: layers are left out by chance, so that some parameters get no gradient.
        """
        if self.count == 1:
            return net
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=ids, find_unused_parameters=unused)

    def like_first(self, net: nn.Module) -> None:
        """Gives every process the first one's running statistics, where each has its own."""
        for buffer in net.buffers() if self.count > 1 else ():
            dist.broadcast(buffer, 0)


def join(device: str | None) -> Processes:
    """This process's place, from torchrun's environment; None takes the best device there is.

    Raises:
        UsageError: the device is not there.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(check_device(device))
    place = check_device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    if not dist.is_initialized():
        store, rank, count = next(rendezvous("env://"))
        # after a restart the store may still hold the addresses of the processes that died
        store = PrefixStore(f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        backend = "nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    side: Any = dist.new_group(backend="gloo") if place.type == "cuda" else None
    return Processes(place, dist.get_rank(), dist.get_world_size(), side)


def check_device(device: str | None) -> torch.device:
    """The device of that name; None takes the best there is.

    Raises:
        UsageError: it is not there.
    """
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=found).item()  # "meta" makes tensors too, but none that holds a number
    except (RuntimeError, AssertionError) as error:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        raise UsageError(f"device {device!r} is not there; this machine has {kind}") from error
    return found


@contextmanager
def deaths_explained(processes: Processes, out: Path) -> Iterator[None]:
    """The error that the others get when one process dies, as a sentence."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if processes.count == 1 or not (isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text):
            raise
        raise ConvatlasError(
            f"another process of this run ended, so process {processes.rank} of {processes.count} can't go on; "
            f"`torchrun --max-restarts` starts them again by itself, `train --resume {out}` by hand"
        ) from error


def without_sync(net: nn.Module) -> AbstractContextManager[Any]:
    """Gradients stay in this process for the body: all but the last part of a batch that is computed in parts."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()
