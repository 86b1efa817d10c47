"""A process whose resident memory and time are bounded: it is ended where it takes more."""

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

MEMORY_BYTES = 1 << 30
_EVERY_S = 0.02


class Ended(NamedTuple):
    """How a process ended, and the most memory that was resident."""

    code: int | None  # None: it was ended for its time or memory; negative: by a signal of its own
    out: str  # standard output and error
    peak_mib: int
    seconds: float
    reason: str = ""  # why it was ended


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> Ended:
    """Runs a command in a folder."""
    said = folder.with_name(f"{folder.name}.out")
    with said.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        return _watch(process.pid, said, seconds, MEMORY_BYTES)


def fork(act: Callable[[], int], folder: Path, seconds: float, *, memory_bytes: int = MEMORY_BYTES) -> Ended:
    """Runs a function in a copy of this process, which has imported what reading imports; its exit code is the result.

    The memory that the imports take counts as the copy's own.
    """
    said = folder.with_name(f"{folder.name}.out")
    with said.open("wb") as out:
        pid = os.fork()
        if not pid:
            code = 70
            try:
                os.setsid()
                os.chdir(folder)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
                code = act()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    return _watch(pid, said, seconds, memory_bytes)


def _watch(pid: int, said: Path, seconds: float, memory_bytes: int) -> Ended:
    started, peak, reason = time.monotonic(), 0, ""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        peak = max(peak, _peak_bytes(pid))
        reason = "more than 1 GB" if peak > memory_bytes else ""
        if reason or time.monotonic() - started > seconds:
            reason = reason or f"no answer in {seconds:.0f} s"
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        time.sleep(_EVERY_S)
    text = said.read_bytes().decode("utf-8", "backslashreplace")
    code = None if reason else os.waitstatus_to_exitcode(status)
    return Ended(code, text, peak >> 20, time.monotonic() - started, reason)


def _peak_bytes(pid: int) -> int:
    """The most that was ever resident, which the kernel keeps (VmHWM)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
