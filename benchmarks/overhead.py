"""What our step costs beyond a bare one: LeNet-5, batch 16, one thread, the same batches; steps/s and their ratio.

    python benchmarks/overhead.py [--rounds 15] [--steps 200]

The bare loop is forward, loss, backward, step and nothing else: no order, no rate, no sums, no look at the loss. The
result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch.nn import functional as F

from convatlas import registry
from convatlas.data import Batch
from convatlas.training import Recipe
from convatlas.training.distributed import Processes
from convatlas.training.prepare import make_optimizer
from convatlas.training.recipe import SGD
from convatlas.training.run import environment
from convatlas.training.step import Learner
from convatlas.training.watch import LossWatch

BATCH = 16
RECIPE = Recipe("lenet5", "benchmark", "a benchmark", epochs=1, batch_size=BATCH, optimizer=SGD(lr=1e-3))


def bare(batches: list[Batch]) -> Callable[[], None]:
    net = registry.build("lenet5")
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def run() -> None:
        for batch in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(batch.images), batch.labels).backward()
            optimizer.step()

    return run


def ours(batches: list[Batch]) -> Callable[[], None]:
    net, device = registry.build("lenet5"), torch.device("cpu")
    learner = Learner(RECIPE, net, make_optimizer(RECIPE, net), Processes(device), steps=len(batches))
    watch, sums = LossWatch(device), torch.zeros(2, dtype=torch.float64)

    def run() -> None:
        for step, batch in enumerate(batches):
            found, loss = learner.learn(batch, step, RECIPE.schedule.rate(1e-3, step, len(batches)))
            sums.add_(found)
            watch.see(loss, step, batch.indices)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = torch.randn(arguments.steps, BATCH, 1, 32, 32), torch.randint(0, 10, (arguments.steps, BATCH))
    batches = [Batch(x, y, torch.arange(BATCH), BATCH) for x, y in zip(images, labels, strict=True)]
    loops = {"bare": bare(batches), "convatlas": ours(batches)}
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for run in loops.values():
        run()
    for _ in range(arguments.rounds):
        for name, run in loops.items():
            started = time.perf_counter()
            run()
            speeds[name].append(arguments.steps / (time.perf_counter() - started))
    ratios = [a / b for a, b in zip(speeds["bare"], speeds["convatlas"], strict=True)]
    result = {
        "what": f"LeNet-5, batch {BATCH}, 1 thread: steps/s, and what our step takes beyond a bare one",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "median_steps_per_s": {name: round(statistics.median(values), 1) for name, values in speeds.items()},
        "median_overhead": round(statistics.median(ratios) - 1, 4),
        "environment": environment("cpu"),
    }
    (Path(__file__).parent / "results" / "overhead.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
