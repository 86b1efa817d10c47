"""Two processes with a thread each against one process with one thread: ResNet-20, batch 128, images/s and the curve.

    python benchmarks/processes.py [--rounds 3] [--samples 1280] [--network cifar_resnet20]

Both are `convatlas`'s own training, on random images of CIFAR's size, started by torchrun as a user would; the first
epoch warms up and is left out. The result goes to benchmarks/results/.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from convatlas.training.run import environment


def train(count: int, network: str, data: Path, out: Path, settings: list[str]) -> list[dict[str, float]]:
    """The rows of metrics.jsonl."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"] if count > 1 else []
    command = [sys.executable, "-m", *launcher, "convatlas", "train", network, "--data", str(data), "--out", str(out)]
    options = ["--epochs", "3", "--batch-size", "128", "--no-report", "--device", "cpu", "--set", "compile=false"]
    options += [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*command, *options], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1280)
    parser.add_argument("--network", default="cifar_resnet20")
    arguments = parser.parse_args()
    kinds = {
        "one process": (1, []),
        "two processes": (2, ["sync_batchnorm=true"]),
        "two processes, own statistics": (2, []),  # the default for 64 samples each
    }
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    curves: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        draw = np.random.default_rng(0)
        for part, count in (("train", arguments.samples), ("test", 100)):
            images = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
            np.savez(Path(folder) / f"noise_{part}.npz", images=images, labels=np.arange(count) % 10)
        data = Path(folder) / "noise_train.npz"
        for index in range(arguments.rounds):
            for kind, (count, settings) in kinds.items():
                out = Path(folder) / f"{kind}-{index}"
                rows = train(count, arguments.network, data, out, settings)
                speeds[kind].append(statistics.mean(row["images_per_s"] for row in rows[1:]))
                curves[kind] = [round(row["train_loss"], 5) for row in rows]
    one = speeds["one process"]
    result = {
        "what": f"{arguments.network}, batch 128 in all, a thread a process: images/s",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "median_images_per_s": {kind: round(statistics.median(values), 1) for kind, values in speeds.items()},
        "median_ratio_to_one": {
            kind: round(statistics.median(a / b for a, b in zip(values, one, strict=True)), 3)
            for kind, values in speeds.items()
        },
        "train_loss": curves,
        "environment": environment("cpu"),
    }
    (Path(__file__).parent / "results" / "processes.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
