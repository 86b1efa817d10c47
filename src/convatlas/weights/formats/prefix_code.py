"""Huffman's codes: the shortest code in which no symbol's bits begin another's, as bytes and back.

Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proceedings of the IRE 40(9), 1952. The codes are
canonical (Schwartz, Kallick 1964): counted upwards in the order of (length, symbol), so that the lengths tell all.

Bits fill a byte from the highest on, and the last byte is filled up with zeros. A single symbol takes one bit, 0.
"""

import heapq
import itertools
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from convatlas.weights.formats.contents import damaged

MAX_LENGTH = 255  # bits of the longest code of 256 symbols
_PEEK = 16  # bits that the table of short codes is asked with
_BLOCK = 1 << 16  # symbols written, or bytes read, at a time


def code_lengths(frequencies: Sequence[int]) -> list[int]:
    """The length in bits of each symbol's code by Huffman's method; 0 for symbols that never occur.

    Two rarest groups become one until one is left; each time the codes of their symbols grow by a bit.
    """
    lengths = [0] * len(frequencies)
    order = itertools.count()  # ties go to the older group
    groups = [(frequency, next(order), [symbol]) for symbol, frequency in enumerate(frequencies) if frequency]
    if len(groups) == 1:
        lengths[groups[0][2][0]] = 1
    heapq.heapify(groups)
    while len(groups) > 1:
        (first, _, left), (second, _, right) = heapq.heappop(groups), heapq.heappop(groups)
        for symbol in (joined := left + right):
            lengths[symbol] += 1
        heapq.heappush(groups, (first + second, next(order), joined))
    return lengths


def canonical(lengths: Sequence[int]) -> dict[int, int]:
    """symbol -> its code as a number of so many bits, in ascending order of the codes."""
    codes: dict[int, int] = {}
    code = before = 0
    for symbol in sorted((symbol for symbol, length in enumerate(lengths) if length), key=lambda s: (lengths[s], s)):
        code <<= lengths[symbol] - before
        codes[symbol] = code
        code, before = code + 1, lengths[symbol]
    return codes


def encode(symbols: np.ndarray, lengths: Sequence[int]) -> bytes:
    """The bits of all symbols (N,), each of which has a code."""
    longest = max(lengths, default=0)
    bits = np.zeros((len(lengths), longest), np.uint8)
    for symbol, code in canonical(lengths).items():
        bits[symbol, : lengths[symbol]] = [int(bit) for bit in f"{code:0{lengths[symbol]}b}"]
    used = np.arange(longest) < np.array(lengths, np.int64)[:, None]
    coded, rest = [], np.zeros(0, np.uint8)
    for start in range(0, len(symbols), _BLOCK):
        block = symbols[start : start + _BLOCK]
        rest = np.concatenate([rest, bits[block][used[block]]])
        whole = len(rest) // 8 * 8
        coded.append(np.packbits(rest[:whole]).tobytes())
        rest = rest[whole:]
    return b"".join([*coded, np.packbits(rest).tobytes()])


def decode(data: memoryview, lengths: Sequence[int], count: int, source: object) -> np.ndarray:
    """The `count` symbols (uint8) whose bits these are.

    Args:
        data: no more bytes than the symbols take.
        lengths: of the codes of at most 256 symbols.
        source: what an error names.

    Raises:
        ConvatlasError: the lengths are of no complete code, or the bytes are not what so many symbols take.
    """
    shortest = min(filter(None, lengths), default=0)
    if count * max(shortest, 1) > 8 * len(data) or len(data) > -(-count * max(lengths, default=0) // 8):
        raise damaged(source, f"{count} symbols have codes of {len(data)} bytes")
    if count == 0:
        return np.zeros(0, np.uint8)
    codes = canonical(lengths)
    longest = max(lengths)
    room = sum(1 << longest - lengths[symbol] for symbol in codes)
    if room != 1 << longest and (len(codes), longest) != (1, 1):
        raise damaged(source, f"{len(codes)} lengths of codes are not those of a complete code")
    steps, named = _table(codes, lengths)
    order, starts = list(codes), [code << longest - lengths[symbol] for symbol, code in codes.items()]
    size = longest // 8 + 2  # bytes that a code touches at most
    padded = np.frombuffer(bytes(data) + bytes(2 * size), np.uint8)
    symbols, done, position = np.zeros(count, np.uint8), 0, 0
    while done < count:
        first, place = divmod(position, 8)
        if first >= len(data):
            raise damaged(source, f"the codes of {count} symbols end after {done}")
        windows = _windows(padded[first : first + _BLOCK + 2])
        ahead, places, long = steps[windows].tobytes(), [], []
        for index in range(done, count):
            if place >= len(ahead):
                break
            step = ahead[place]
            if step == 0:  # longer than the table's codes, or the bit that a single symbol lacks
                if len(order) == 1:
                    raise damaged(source, "a bit is 1 where only one symbol, of bit 0, has a code")
                at = first + place // 8
                bits = int.from_bytes(padded[at : at + size].tobytes(), "big") >> 8 * size - longest - place % 8
                symbol = order[bisect_right(starts, bits & (1 << longest) - 1) - 1]
                long.append((index, symbol))
                step = lengths[symbol]
            places.append(place)
            place += step
        symbols[done : done + len(places)] = named[windows[places]]
        for index, symbol in long:
            symbols[index] = symbol
        done, position = done + len(places), 8 * first + place
    if -(-position // 8) != len(data):
        raise damaged(source, f"the codes of {count} symbols take {-(-position // 8)} bytes of {len(data)}")
    return symbols


def _table(codes: dict[int, int], lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each value of the next bits the length of the code that they begin, 0 for a longer one, and its symbol."""
    short = [symbol for symbol in codes if lengths[symbol] <= _PEEK]
    widths = [1 << _PEEK - lengths[symbol] for symbol in short]
    steps, named = np.zeros((2, 1 << _PEEK), np.uint8)
    steps[: sum(widths)] = np.repeat(np.array([lengths[symbol] for symbol in short], np.uint8), widths)
    named[: sum(widths)] = np.repeat(np.array(short, np.uint8), widths)
    return steps, named


def _windows(block: np.ndarray) -> np.ndarray:
    """The next 16 bits from each bit of a block of bytes, but its last two."""
    wide = block.astype(np.uint32)
    words = wide[:-2] << 16 | wide[1:-1] << 8 | wide[2:]
    return (words[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF).astype(np.uint16).reshape(-1)
