"""MPII's annotations as released, in Matlab's format 5, which a small hostile file could unfold to gigabytes."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convatlas.data import limits
from convatlas.errors import ConvatlasError

_HEADER, _COMPRESSED = 128, 15
_STEP = 1 << 20
_TIMEOUT_S = 600


def read_release(file: Path) -> dict[str, Any]:
    """The variable RELEASE of MPII's file: structures are dictionaries, and a list of one is that one.

    Raises:
        ConvatlasError: it is another file, or damaged, or unfolds to more than the limit.
    """
    content = limits.read_bytes(file)
    for unfolded in _unfold(content):
        limits.check_unpacked(unfolded, file, len(content))
    command = [sys.executable, "-I", str(Path(__file__).with_name("read_matlab.py")), str(file.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConvatlasError(f"{file}: not MPII's Matlab file (not read within {_TIMEOUT_S} s)") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if done.returncode > 0 and lines else "its reader crashed"
        raise ConvatlasError(f"{file}: not MPII's Matlab file ({reason[:160]})")
    release = limits.parse_json(done.stdout.decode("utf-8"), file)
    if not isinstance(release, dict) or not {"annolist", "img_train"} <= release.keys():
        raise ConvatlasError(f"{file}: not MPII's Matlab file (RELEASE has no annolist and img_train)")
    return release


def _unfold(content: bytes) -> Iterator[int]:
    """The bytes that the compressed elements take unfolded, as far as they have been."""
    place, total = _HEADER, 0
    order = ">" if content[126:128] == b"MI" else "<"
    while place + 8 <= len(content):
        kind, length = struct.unpack(f"{order}II", content[place : place + 8])
        place += 8
        if kind == _COMPRESSED:
            stream, rest = zlib.decompressobj(), content[place : place + length]
            while rest:
                try:
                    total += len(stream.decompress(rest, _STEP))
                except zlib.error:
                    break  # scipy says what is wrong
                yield total
                rest = stream.unconsumed_tail
        place += length
