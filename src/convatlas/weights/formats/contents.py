"""What a reader gives, and the bounds-checked cursor that readers of binary formats share."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from convatlas.data.limits import check_unpacked, max_unpacked
from convatlas.errors import ConvatlasError
from convatlas.records import Preprocessing


@dataclass(frozen=True)
class Contents:
    """A weights file as it was read.

    Tensors have the file's names of layers, torch's names of entries ("weight", "bias", "running_mean", "running_var")
    where the format has such a thing, and torch's order of axes.
    """

    format: str
    tensors: dict[str, Tensor]
    network: str | None = None  # what the file calls its network
    layers: tuple[str, ...] = ()  # all layers in the file's order, where it lists them
    preprocessing: Preprocessing | None = None  # where the file states it
    classes: tuple[str, ...] | None = None
    card: Mapping[str, object] | None = field(default=None)  # only our own files bring one
    notes: tuple[str, ...] = ()  # what was done to find the tensors: wrappers taken off, a choice between two networks


class MisfitError(ConvatlasError):
    """Weights that were read, and are not those of the network that was asked for."""


def damaged(source: object, reason: str) -> ConvatlasError:
    """The error for a file that can't be read."""
    return ConvatlasError(f"weights {source} can't be read: {reason}")


class Room:
    """Counts what a file unfolds to: bytes inflated, and tensors that share what is stored.

    Raises:
        ConvatlasError: from `take`, where that is more than the limit of `data.limits`.
    """

    def __init__(self, source: object, packed_bytes: int) -> None:
        self.source = source
        self.packed_bytes = packed_bytes
        self.taken = 0

    def take(self, size: int) -> None:
        self.taken += size
        check_unpacked(self.taken, f"weights {self.source}", self.packed_bytes)

    @property
    def left(self) -> int:
        """Bytes that may still be taken."""
        return max(0, max_unpacked(self.packed_bytes) - self.taken)


class Cursor:
    """Reads a buffer from front to back and never past its end.

    Raises:
        ConvatlasError: from every method, where the buffer ends too early.
    """

    def __init__(self, data: memoryview, source: object, order: str = "<") -> None:
        self.data = data
        self.source = source
        self.order = order
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, size: int) -> memoryview:
        if not 0 <= size <= self.left:
            raise damaged(self.source, f"{size} bytes are announced at byte {self.position}, {self.left} are left")
        start, self.position = self.position, self.position + size
        return self.data[start : self.position]

    def skip_to_multiple(self, size: int) -> None:
        """On to the next multiple of `size`; the padding of a last element may be absent."""
        self.position = min(len(self.data), -(-self.position // size) * size)

    def integer(self, code: str = "i") -> int:
        """One whole number by its `struct` code, such as "i" or "Q"."""
        return self.integers(code, 1)[0]

    def integers(self, code: str, count: int) -> tuple[int, ...]:
        layout = f"{self.order}{max(count, 0)}{code}"
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def double(self) -> float:
        return struct.unpack(f"{self.order}d", self.take(8))[0]
