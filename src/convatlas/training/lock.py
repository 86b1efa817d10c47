"""One process a run folder: the lock comes before anything is written, and nobody cleans up what another holds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from convatlas.errors import UsageError

NAME = ".lock"
_TRIES = 1000  # a folder that vanishes under the lock is claimed anew; each try takes some microseconds


@contextmanager
def hold(folder: Path, *, make: bool = False) -> Iterator[None]:
    """Holds a folder's lock for the body. A folder that holds nothing else after an error is removed again.

    Args:
        folder: a run.
        make: create the folder, and those above it, where they are absent.

    Raises:
        UsageError: another process is training in it.
        OSError: the folder or the lock can't be made.
    """
    file = _claim(folder, make)
    try:
        yield
    except BaseException:
        if make:
            remove_if_empty(folder)
        raise
    finally:
        file.close()


def in_use(folder: Path) -> bool:
    """Whether a process is training in the folder."""
    try:
        with (folder / NAME).open("r+") as file:
            return not _lock(file)
    except OSError:
        return False


def entries(folder: Path) -> list[Path]:
    """What a folder holds beside the lock; [] where there is no such folder."""
    return [entry for entry in folder.iterdir() if entry.name != NAME] if folder.is_dir() else []


def remove_if_empty(folder: Path) -> None:
    """Removes a folder of which only the lock is left. To be called by the one that holds it."""
    if not entries(folder):
        with suppress(OSError):
            (folder / NAME).unlink(missing_ok=True)
            folder.rmdir()  # fails, and rightly so, where another process has claimed it in this moment


def _claim(folder: Path, make: bool) -> IO[str]:
    """The open lock file, of which it is certain that it is the one in the folder."""
    for _ in range(_TRIES):
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / NAME).open("a+")
        except FileNotFoundError:
            if make:  # whoever held it has just removed it
                continue
            raise
        if not _lock(file):
            file.close()
            raise UsageError(f"{folder} is in use: another process is training in it")
        if _is_there(file, folder / NAME):
            return file
        file.close()
    raise UsageError(f"{folder} is in use: other processes make and remove it all the time")


def _is_there(file: IO[str], path: Path) -> bool:
    """Whether the open file still has the name that it was opened by."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    """Held until the file is closed or the process is gone; True as well where the system knows no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows; some network file systems
        return True
    return True
