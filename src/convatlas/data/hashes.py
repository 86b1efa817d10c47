"""Hashes of images: of the exact pixels, and perceptual ones in all eight symmetries with a look-up of near ones.

The perceptual hash is that of Zauner 2010 ("pHash"): the signs of the 63 lowest frequencies of a discrete cosine
transform of 32 x 32 grey values. Here the sign is taken against 0 instead of the median, because then
mirroring an image only changes the signs of its odd frequencies, and turning it also exchanges the axes: the hashes of
all eight symmetries follow from one transform.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LOW = 8  # frequencies along each axis
_BITS = LOW * LOW - 1
BANDS = 6  # pieces of the hash, one of which has to agree: all pairs within 5 bits are found, and most within 10


class Symmetry(NamedTuple):
    how: str
    exchanges_axes: bool
    rows: int  # sign of odd frequencies along the rows: -1 turns their order round
    columns: int


SYMMETRIES = (
    Symmetry("nearly the same as", False, 1, 1),
    Symmetry("mirrored, nearly the same as", False, 1, -1),
    Symmetry("mirrored, nearly the same as", False, -1, 1),
    Symmetry("upside down, nearly the same as", False, -1, -1),
    Symmetry("turned and mirrored, nearly the same as", True, 1, 1),
    Symmetry("turned by a quarter, nearly the same as", True, 1, -1),
    Symmetry("turned by a quarter, nearly the same as", True, -1, 1),
    Symmetry("turned and mirrored, nearly the same as", True, -1, -1),
)


def hash_pixels(pixels: np.ndarray) -> bytes:
    """16 bytes that are equal for equal pixels of equal shape."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=f"{pixels.shape}".encode()).digest()


def hash_signs(low: np.ndarray) -> np.ndarray:
    """(n, 8, 8) -> (n,) uint64: a bit for the sign of each frequency but the mean"""
    bits = (low.reshape(len(low), LOW * LOW)[:, 1:] > 0).astype(np.uint64)
    return (bits << np.arange(_BITS, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


def apply_to_frequencies(low: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """Frequencies of the images after a symmetry."""
    is_odd = np.arange(LOW) % 2
    signs = np.outer(np.where(is_odd, symmetry.rows, 1), np.where(is_odd, symmetry.columns, 1))
    return (low.swapaxes(1, 2) if symmetry.exchanges_axes else low) * signs.astype(np.float32)


def apply_to_copies(copies: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """Copies after the symmetry that `apply_to_frequencies` gives frequencies of."""
    turned = copies.swapaxes(1, 2) if symmetry.exchanges_axes else copies
    return turned[:, :: symmetry.rows, :: symmetry.columns]


@dataclass(frozen=True)
class Bucket:
    """Hashes in the order of one of their pieces."""

    shift: int
    mask: int
    order: np.ndarray  # (n,) places of the hashes
    keys: np.ndarray  # (n,) their pieces, ascending

    @classmethod
    def of(cls, hashes: np.ndarray, band: int) -> "Bucket":
        first, last = band * _BITS // BANDS, (band + 1) * _BITS // BANDS
        mask = (1 << (last - first)) - 1
        pieces = ((hashes >> np.uint64(first)) & np.uint64(mask)).astype(np.uint32)
        order = np.argsort(pieces, kind="stable")
        return cls(first, mask, order, pieces[order])

    def candidates(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (place among the queries, place among the hashes) that have this piece in common."""
        pieces = ((queries >> np.uint64(self.shift)) & np.uint64(self.mask)).astype(np.uint32)
        first = np.searchsorted(self.keys, pieces, "left")
        counts = np.searchsorted(self.keys, pieces, "right") - first
        rows = np.repeat(np.arange(len(queries)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.order[np.repeat(first, counts) + within]
