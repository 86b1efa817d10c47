"""Max pooling that hands on its switches, the places of the maxima, and unpooling by them.

Zeiler and Fergus 2014; Noh et al. 2015; Badrinarayanan et al. 2015: a decoder puts each value back where the encoder's
maximum stood, and zeros everywhere else.
"""

from typing import NamedTuple

from torch import Tensor, nn

from convatlas.errors import UsageError


class Switches(NamedTuple):
    """Where the maxima of one pooling stood."""

    places: Tensor  # (B, C, h, w) int64, counted row by row over the pooled map
    size: tuple[int, int]  # H, W of that map


class SwitchPool2d(nn.MaxPool2d):
    """Max pooling whose windows do not overlap.  (B, C, H, W) -> (B, C, h, w) and its switches

    Args:
        kernel_size: side of the windows, and their distance.
        ceil_mode: keep the windows that overhang a map of odd size, as Caffe does.
    """

    def __init__(self, kernel_size: int = 2, *, ceil_mode: bool = False) -> None:
        super().__init__(kernel_size, ceil_mode=ceil_mode, return_indices=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Switches]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pooled, places = super().forward(x)
        return pooled, Switches(places, (x.shape[2], x.shape[3]))


class SwitchUnpool2d(nn.MaxUnpool2d):
    """Puts each value where its switch points, into zeros.  (B, C, h, w) -> (B, C, H, W)

    The map that comes back has the size of the one that was pooled. Windows did not overlap, so no two values meet.
    Written as a scatter, which is deterministic on every device and can be exported; torch's unpooling is neither.

    Raises:
        UsageError: the values have another shape than the switches.
    """

    def __init__(self, kernel_size: int = 2) -> None:
        super().__init__(kernel_size)

    def forward(self, x: Tensor, switches: Switches) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if x.shape != switches.places.shape:
            found, expected = (" x ".join(map(str, t.shape)) for t in (x, switches.places))
            raise UsageError(f"the values to unpool are {found}; expected {expected}, as the switches are")
        height, width = switches.size
        zeros = x.new_zeros(x.shape[0], x.shape[1], height * width)
        filled = zeros.scatter(2, switches.places.flatten(2), x.flatten(2))
        return filled.view(-1, x.shape[1], height, width)  # unflatten would fix the batch in an exported file


class MirroredSequential(nn.Sequential):
    """Layers one after another; each unpooling gets the switches of the pooling that it undoes, the last first.

    (B, C, H, W) -> (B, K, H, W)
    """

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        switches: list[Switches] = []
        for layer in self:
            if isinstance(layer, SwitchPool2d):
                x, places = layer(x)
                switches.append(places)
            elif isinstance(layer, SwitchUnpool2d):
                x = layer(x, switches.pop())
            else:
                x = layer(x)
        return x
