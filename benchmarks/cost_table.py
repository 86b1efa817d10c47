"""The cost table of a network against torchinfo's and fvcore's, interleaved in one process: seconds and their ratio.

    python benchmarks/cost_table.py [--network resnet152] [--rounds 7]

All three get the network ready built: ours on `meta`, the others' in memory, as their users hand it over, and
torchinfo a second time with `meta`. The result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import fvcore.nn
import torch
import torchinfo

from convatlas import registry
from convatlas.analysis.cost import cost
from convatlas.analysis.trace import build_on_meta, trace
from convatlas.training.run import environment


def subjects(name: str) -> dict[str, Callable[[], int]]:
    """Each gives its multiply-adds, so that a wrong table is not called a fast one."""
    shape = registry.card(name).input_shape
    net, light = registry.build(name).eval(), build_on_meta(name).eval()
    image = torch.zeros(1, *shape)

    def ours() -> int:
        return cost(trace(light, shape)).multiply_adds

    def info(device: str) -> int:
        subject, size = (light, (1, *shape)) if device == "meta" else (net, None)
        table = torchinfo.summary(
            subject, input_size=size, input_data=None if size else image, device=device, verbose=0, depth=9
        )
        return table.total_mult_adds

    def count() -> int:
        counter = fvcore.nn.FlopCountAnalysis(net, image)
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return int(counter.total())

    return {
        "convatlas": ours,
        "torchinfo": lambda: info("cpu"),
        "torchinfo on meta": lambda: info("meta"),
        "fvcore": count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet152")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    tables = subjects(arguments.network)
    counted = {who: table() for who, table in tables.items()}  # the first call imports what it needs
    seconds: dict[str, list[float]] = {who: [] for who in tables}
    for _ in range(arguments.rounds):
        for who, table in tables.items():
            started = time.perf_counter()
            table()
            seconds[who].append(time.perf_counter() - started)
    ratios = {
        who: statistics.median(a / b for a, b in zip(seconds[who], seconds["convatlas"], strict=True))
        for who in tables
        if who != "convatlas"
    }
    result = {
        "what": f"cost table of {arguments.network}, seconds",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "multiply_adds": counted,
        "seconds": {who: [round(value, 4) for value in values] for who, values in seconds.items()},
        "times_slower_than_convatlas": {who: round(value, 2) for who, value in ratios.items()},
        "versions": {name: version(name) for name in ("torchinfo", "fvcore")},
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"cost_table_{arguments.network}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
