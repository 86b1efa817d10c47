"""A process that imports the package once and runs each command in a child of its own under a pseudo-terminal.

It reads a request, one JSON document a line, and answers it by another. Torch computes nothing before the fork, so that
no thread of it is lost there.
"""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from typing import Any, NoReturn

# What the commands load when they run, but for matplotlib's fonts: loaded here, each child starts at once.
import torch
import torchvision  # noqa: F401

import convatlas
import convatlas.inference
import convatlas.report
import convatlas.training  # noqa: F401
from convatlas import registry
from convatlas.cli import COMMANDS, load, main

torch.set_num_threads(1)


def child(request: dict[str, Any]) -> NoReturn:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as a process that starts in a terminal has them
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 70
    try:
        code = main(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """What the command wrote, its exit code, and the seconds until it first wrote something and until it ended."""
    start = time.monotonic()
    pid, master = pty.fork()
    if pid == 0:
        child(request)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 100, request["columns"], 0, 0))
    output, first, interrupted = b"", None, False
    while time.monotonic() - start < request["timeout"]:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                read = os.read(master, 65536)
            except OSError:  # Linux: the child has closed its end
                break
            if not read:
                break
            first = time.monotonic() - start if first is None else first
            output += read
        word = request["interrupt_after"]
        if word is not None and not interrupted and word.encode() in output:
            os.write(master, b"\x03")  # the terminal makes SIGINT of it
            interrupted = True
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(master)
    return {
        "output": output.decode(errors="replace"),
        "code": os.waitstatus_to_exitcode(status),
        "first_s": first,
        "seconds": time.monotonic() - start,
    }


if __name__ == "__main__":
    registry.names()
    for name in COMMANDS:
        load(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
