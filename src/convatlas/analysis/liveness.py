"""Which tensors are alive at each moment of a forward pass, as eager PyTorch frees them.

A tensor dies when Python drops the last reference to it, and its storage with the last tensor that shares it. So a
residual block keeps its input until it returns, and views and operations in place hold what they share.
"""

import weakref
from collections.abc import Iterable

from torch import Tensor


class Alive:
    """Follows tensors from their making to their death; counts the bytes of the storages that are held."""

    def __init__(self, elsewhere: Iterable[Tensor]) -> None:
        """`elsewhere`: parameters and buffers, which are no activations."""
        self.bytes = 0
        self.peak_bytes = 0  # since the last `take_peak`
        self.made: dict[int, int] = {}  # id of a living tensor -> index of the record that made it
        self._references: dict[int, object] = {}
        self._storages: dict[int, list[int]] = {}  # address of a storage -> [tensors that share it, bytes]
        self._elsewhere = {storage(tensor) for tensor in elsewhere}

    def follow(self, tensor: Tensor) -> None:
        """Counts a tensor's storage from now on, unless it is counted already or is a weight's."""
        key, address = id(tensor), storage(tensor)
        if key in self._references or address in self._elsewhere:
            return
        if address not in self._storages:
            self._storages[address] = [0, tensor.untyped_storage().nbytes()]
            self.bytes += self._storages[address][1]
            self.peak_bytes = max(self.peak_bytes, self.bytes)
        self._storages[address][0] += 1
        self._references[key] = weakref.ref(tensor, lambda _: self._dies(key, address))

    def holds(self, address: int) -> bool:
        return address in self._storages

    def take_peak(self) -> int:
        """The most bytes that were alive at once since the last call: when a tensor was made, or now."""
        peak, self.peak_bytes = max(self.peak_bytes, self.bytes), 0
        return peak

    def _dies(self, key: int, address: int) -> None:
        del self._references[key]
        self.made.pop(key, None)
        shared = self._storages[address]
        shared[0] -= 1
        if shared[0] == 0:
            self.bytes -= shared[1]
            del self._storages[address]


def storage(tensor: Tensor) -> int:
    """What identifies a tensor's storage while it lives."""
    return tensor.untyped_storage()._cdata
