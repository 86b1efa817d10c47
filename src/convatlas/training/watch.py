"""Whether each step's loss is finite, without making a GPU wait for the answer."""

from collections import deque

import torch
from torch import Tensor

from convatlas.training.step import NotFiniteError

_SLOTS = 64  # losses on their way; when all are taken, the oldest is waited for


class LossWatch:
    """Each loss of a GPU travels to pinned memory behind the step, and is looked at when it is there, some steps later.

    On the CPU the step itself looks, before the weights change; nothing is done here.
    """

    def __init__(self, device: torch.device) -> None:
        self._asynchronous = device.type == "cuda"
        self._landing = torch.zeros(_SLOTS, pin_memory=True) if self._asynchronous else torch.zeros(_SLOTS)
        self._free = deque(range(_SLOTS))
        self._pending: deque[tuple[int, torch.cuda.Event, int, Tensor]] = deque()

    def see(self, loss: Tensor, step: int, indices: Tensor) -> None:
        """Raises NotFiniteError for this loss or an earlier one, as soon as it is known."""
        if not self._asynchronous:
            return
        while self._pending and (not self._free or self._pending[0][1].query()):
            self._look()
        slot, event = self._free.popleft(), torch.cuda.Event()
        self._landing[slot].copy_(loss, non_blocking=True)
        event.record()
        self._pending.append((slot, event, step, indices))

    def settle(self) -> None:
        """Waits for all losses; raises NotFiniteError. To be called before a state is saved."""
        while self._pending:
            self._look()

    def _look(self) -> None:
        slot, event, step, indices = self._pending.popleft()
        event.synchronize()
        value = float(self._landing[slot])
        self._free.append(slot)
        if not torch.isfinite(torch.tensor(value)):
            raise NotFiniteError(value, indices, step)
