"""Forward passes in a process of their own, which can be ended: no other way stops one that takes minutes.

The process reads one JSON object a line and answers with one: {"open": name, "network": ..., "shape": [...]},
{"run": place, "batch": n}, {"evaluate": place, "data": spec, "root": folder}.
"""

import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from convatlas.analysis.timing import Pass
from convatlas.errors import ConvatlasError
from convatlas.records import Shape
from convatlas.report.accuracy import Accuracy, measured
from convatlas.report.tables import duration

OPENING_S = 300.0  # for starting, building a network and reading its weights


@dataclass(frozen=True)
class Candidate:
    """A network to be timed."""

    name: str  # registered, or a run folder
    network: str
    run: bool
    shape: Shape


class Stopwatch:
    """Times networks one pass after another; a pass that takes too long costs the process, not more.

    Args:
        candidates: are built when they are first needed, and again after one of them has ended the process.
        threads: of torch.
    """

    def __init__(self, candidates: Sequence[Candidate], threads: int) -> None:
        self.candidates, self.threads = candidates, threads
        self.reasons: dict[int, str] = {}  # why a candidate could not be built or run
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._open: dict[int, int] = {}  # place among the candidates -> in the process
        self._deadline = math.inf

    def allow(self, seconds: float) -> None:
        """From now on: what would end later is given up, whatever it is."""
        self._deadline = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left of those allowed."""
        return max(self._deadline - time.monotonic(), 0.0)

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(self, place: int, batch: int, limit_s: float) -> Pass | None:
        """One pass of a candidate; None where it takes longer or fails, and `reasons` may say why."""
        if place not in self._open and not self.build(place):
            return None
        answer = self._ask({"run": self._open[place], "batch": batch}, limit_s)
        if answer is None:
            return None
        if "error" in answer:
            self.reasons[place] = answer["error"]
            return None
        return Pass(answer["seconds"], answer["energy_j"])

    def evaluate(self, place: int, data: str | None, root: Path | None, limit_s: float) -> Accuracy | str:
        """The accuracy of a run on the test split of data, or why there is none."""
        if not self.build(place):
            return self.reasons[place]
        asked = {"evaluate": self._open[place], "data": data, "root": None if root is None else str(root)}
        answer = self._ask(asked, limit_s)
        if answer is None:
            return f"not evaluated: that takes longer than its share of the seconds, {duration(limit_s)}"
        if "error" in answer:
            return f"could not be evaluated: {answer['error']}"
        return Accuracy(**answer["accuracy"])

    def build(self, place: int) -> bool:
        """Builds a candidate in the process, and reads its weights; where that fails, `reasons` says why."""
        if place in self._open:
            return True
        limit_s = min(OPENING_S, self.left_s)
        if limit_s == 0:
            self.reasons[place] = "cut: the seconds were used up before it could be built"
            return False
        one = self.candidates[place]
        asked = {"open": one.name, "network": one.network, "is_run": one.run, "shape": list(one.shape)}
        answer = self._ask(asked, limit_s)
        if answer is None:
            self.reasons[place] = f"cut: it could not be built within the {duration(limit_s)} that were left"
        elif "error" in answer:
            self.reasons[place] = answer["error"]
        else:
            self._open[place] = answer["place"]
        return place in self._open

    def _ask(self, message: dict[str, Any], limit_s: float) -> dict[str, Any] | None:
        """The answer; None where it does not come in time, and then the process is gone."""
        process = self._process or self.start()
        if process is None:
            return None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            line = self._answers.get(timeout=min(limit_s, self.left_s))
        except queue.Empty:
            self.close()
            return None
        except OSError:
            line = None
        if line is not None:
            return json.loads(line)
        code = process.wait()
        self.close()
        memory = ", probably for want of memory" if code == -signal.SIGKILL else ""
        return {"error": f"its process ended with code {code}{memory}"}

    def start(self) -> subprocess.Popen[str] | None:
        """Starts the process, and comes back when it is ready; done by itself when a candidate is first run.

        None where that takes longer than is allowed.

        Raises:
            ConvatlasError: it ends at once.
        """
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "convatlas.report.stopwatch", str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._process, self._answers = process, queue.Queue()
        threading.Thread(target=_forward, args=(process.stdout, self._answers), daemon=True).start()
        try:
            ready = self._answers.get(timeout=min(self.left_s, threading.TIMEOUT_MAX))  # its first line says so
        except queue.Empty:
            self.close()
            return None
        if ready is None:
            self.close()
            raise ConvatlasError(f"{sys.executable} can't run convatlas in a process of its own")
        return process

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        self._process, self._open = None, {}


def _forward(pipe: IO[str], answers: "queue.Queue[str | None]") -> None:
    """Lines to a queue, which can be waited for with a limit; None at their end."""
    with suppress(ValueError):  # closed meanwhile
        for line in pipe:
            answers.put(line)
    answers.put(None)


def serve(commands: IO[str], answers: IO[str], threads: int) -> None:
    """What the process does until its input ends."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    from convatlas import inference

    networks: list[tuple[nn.Module, Shape]] = []
    opened: list[str] = []
    inputs: dict[tuple[int, int], torch.Tensor] = {}

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    answer(ready=True)
    for line in commands:
        message = json.loads(line)
        try:
            if "open" in message:
                networks.append((_network(message), tuple(message["shape"])))
                opened.append(message["open"])
                answer(place=len(networks) - 1)
            elif "evaluate" in message:
                root = None if message["root"] is None else Path(message["root"])
                source = inference.open_source(opened[message["evaluate"]])
                answer(accuracy=asdict(measured(source, message["data"], root)))
            else:
                place, batch = message["run"], message["batch"]
                net, shape = networks[place]
                if (place, batch) not in inputs:
                    inputs = {key: x for key, x in inputs.items() if key[1] == batch}
                    inputs[place, batch] = torch.randn(batch, *shape)
                with torch.inference_mode():
                    timed = _timed(net, inputs[place, batch])
                answer(seconds=timed.seconds, energy_j=timed.energy_j)
        except Exception as error:  # whatever it is, the other networks go on
            answer(error=str(error) or type(error).__name__)


def _network(message: dict[str, Any]) -> Any:
    from convatlas import inference, registry

    if message["is_run"]:
        return inference.open_source(message["open"]).net.cpu().eval()
    return registry.build(message["network"], in_channels=message["shape"][0]).eval()


def _timed(net: Any, x: Any) -> Pass:
    import time

    from convatlas.analysis.timing import package_energy_j

    before, started = package_energy_j(), time.perf_counter()
    net(x)
    seconds, after = time.perf_counter() - started, package_energy_j()
    energy = after - before if before is not None and after is not None and after >= before else None
    return Pass(seconds, energy)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for this one
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    serve(sys.stdin, answers, int(sys.argv[1]))


if __name__ == "__main__":
    main()
