"""Which engine carries devices and precision: accelerate or Lightning Fabric, against a bare loop, interleaved.

    pip install lightning-fabric && python benchmarks/engine.py

Steps of LeNet-5 at batch 16, and the import of each in a fresh interpreter. The result goes to benchmarks/results/.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import Accelerator
from lightning_fabric import Fabric
from torch.nn import functional as F

from convatlas import registry
from convatlas.training.run import environment

STEPS, ROUNDS, BATCH = 200, 7, 16


def loop(engine: str) -> Callable[[], float]:
    """STEPS steps; steps/s."""
    net = registry.build("lenet5")
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward
    if engine == "accelerate":
        accelerator = Accelerator(cpu=True)
        net, optimizer = accelerator.prepare(net, optimizer)
        backward = accelerator.backward
    elif engine == "fabric":
        fabric = Fabric(accelerator="cpu", devices=1)
        net, optimizer = fabric.setup(net, optimizer)
        backward = fabric.backward
    x, y = torch.randn(BATCH, 1, 32, 32), torch.randint(0, 10, (BATCH,))

    def run() -> float:
        started = time.perf_counter()
        for _ in range(STEPS):
            loss = F.cross_entropy(net(x), y)
            backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return STEPS / (time.perf_counter() - started)

    return run


def import_seconds(statement: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    loops = {engine: loop(engine) for engine in ("bare", "accelerate", "fabric")}
    for run in loops.values():
        run()
    speeds: dict[str, list[float]] = {engine: [] for engine in loops}
    for _ in range(ROUNDS):
        for engine, run in loops.items():
            speeds[engine].append(run())
    imports = {
        "torch": "import torch",
        "accelerate": "from accelerate import Accelerator",
        "fabric": "from lightning_fabric import Fabric",
    }
    result = {
        "what": f"LeNet-5, batch {BATCH}, 1 thread: steps/s through each engine, and import time with torch, s",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": ROUNDS,
        "median_ratio_to_bare": {
            engine: round(statistics.median(a / b for a, b in zip(values, speeds["bare"], strict=True)), 3)
            for engine, values in speeds.items()
        },
        "median_steps_per_s": {engine: round(statistics.median(values), 1) for engine, values in speeds.items()},
        "median_import_s": {
            name: round(statistics.median(import_seconds(statement) for _ in range(3)), 2)
            for name, statement in imports.items()
        },
        "environment": environment("cpu"),
    }
    (Path(__file__).parent / "results" / "engine.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
