"""The one way in which files are written: completely or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; at the end what was written there is synced and takes the place of `path`.

    A reader, another process and a power cut see the old file or the new one. Where the block raises, what was there
    stays, and what was half written is removed. A device or a pipe is written to directly.

    Args:
        path: its folder must exist.

    Yields:
        The name to write to, in the same folder; it ends as `path` does.

    Raises:
        OSError: the file can't be written.

    Example:
        >>> with replace_file("numbers.txt") as aside:
        ...     aside.write_text("1 2 3")
        5
        >>> Path("numbers.txt").read_text()
        '1 2 3'
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    aside = path.with_name(f".{os.getpid()}-{threading.get_ident():x}.{path.name}")
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # it is gone, or was never there
            aside.unlink()


def write_file(path: str | Path, content: bytes | str) -> None:
    """Writes bytes, or text as UTF-8, by `replace_file`.

    Raises:
        OSError: the file can't be written; what was there before is untouched.

    Example:
        >>> write_file("numbers.txt", "1 2 3")
    """
    with replace_file(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    """So that the new name survives a power cut too; file systems that can't do that are left alone."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
