"""One range for all 16-bit images of a data set: found once, by what the brightest of them holds."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from convatlas.data import bit_depth
from convatlas.data.decode import open_image
from convatlas.data.limits import check_regular
from convatlas.data.store import threads

LOOKED_AT = 1000  # images, evenly spaced, by which the range is told
_FIRST = 64  # of these; where none may have 16 bits, the others are not looked at
_HEAD = 32  # bytes that tell a PNG's depth, and what may be a TIFF
_PNG, _PNG_DEPTH = b"\x89PNG", 24
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class _Sized(Protocol):
    def __len__(self) -> int: ...


@runtime_checkable
class Encoded(Protocol):
    """A split whose images are encoded files: of a folder, an archive or a packed array."""

    white: int | None

    @property
    def paths(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def encoded(self, index: int) -> bytes: ...


@dataclass(frozen=True)
class _Image:
    split: Encoded
    index: int
    path: str | None

    def may_be_deep(self) -> bool:
        try:
            head = self._head()
        except Exception:  # what can't be read is named when it is
            return False
        return head.startswith(_TIFF) or (head.startswith(_PNG) and head[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10")

    def _head(self) -> bytes:
        if self.path is None:
            return self.split.encoded(self.index)[:_HEAD]
        check_regular(self.path)
        with open(self.path, "rb") as stream:
            return stream.read(_HEAD)

    def largest(self) -> int | None:
        if not self.may_be_deep():
            return None
        try:
            content = self.split.encoded(self.index)
            with open_image(content) as image:
                return bit_depth.largest_value(image, content)
        except Exception:  # of damaged files the readers raise anything; they are named when they are read
            return None


def settle(splits: Iterable[_Sized]) -> int | None:
    """Gives all splits the range that holds the 16-bit values of all: 8, 10, 12, 14 or 16 bits.

    Else each image would be stretched by its own largest value, and a dark one of 12 bits become four times as bright
    as its neighbours. A thousand images are looked at, evenly spaced; one with a value above the range is refused when
    it is read.

    Returns:
        The largest value of the range; None where no image has 16 bits, or each states its range.
    """
    encoded = [split for split in splits if isinstance(split, Encoded)]
    images = []
    for split in encoded:
        paths = split.paths
        images += [_Image(split, index, None if paths is None else paths[index]) for index in range(len(split))]
    images = images[:: max(1, len(images) // LOOKED_AT)]
    if not any(image.may_be_deep() for image in images[:: max(1, len(images) // _FIRST)]):
        return None
    with ThreadPoolExecutor(threads()) as pool:
        values = [value for value in pool.map(_Image.largest, images) if value is not None]
    white = bit_depth.range_of(max(values)) if values else None
    if white is not None:
        give(encoded, white)
    return white


def give(splits: Iterable[_Sized], white: int) -> None:
    """Gives splits a range, such as that of the data that a network was trained on."""
    for split in splits:
        if isinstance(split, Encoded):
            split.white = white


def white_of(split: _Sized) -> int | None:
    """The largest value of the range that a split's 16-bit images are read in; None where there are none."""
    return split.white if isinstance(split, Encoded) else None
