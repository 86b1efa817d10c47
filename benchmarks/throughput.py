"""Training throughput against a plain PyTorch loop, interleaved in one process: images/s and their ratio.

    python benchmarks/throughput.py --data-root FOLDER [--network lenet5|cifar_resnet20] [--rounds 5]

The plain loop is what a user would write: torchvision's data set, its transforms, a DataLoader, the same network, SGD.
FOLDER holds mnist_train.npz, or cifar10_jpeg_train.npz, whose images are put into torchvision's own data set classes,
so that their `__getitem__` runs. The result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms

from convatlas import data, registry
from convatlas.data import ArraySplit, DataSet
from convatlas.training import find, fit
from convatlas.training.losses import CrossEntropy
from convatlas.training.recipe import SGD
from convatlas.training.run import environment

SETS = {"lenet5": ("mnist", 64, 12_800), "cifar_resnet20": ("cifar10_jpeg", 128, 3_840)}  # data, batch, images a round
NORMAL = {"lenet5": ((0.0784,), (0.7843,)), "cifar_resnet20": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))}


def torchvision_set(network: str, images: torch.Tensor, labels: torch.Tensor) -> Any:
    """torchvision's MNIST or CIFAR10 with these images, (N, C, 32 or 28, ...) uint8, in place of its files."""
    mean, std = NORMAL[network]
    finish = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    if network == "lenet5":
        found = torchvision.datasets.MNIST.__new__(torchvision.datasets.MNIST)
        found.data, found.targets = images[:, 0], labels
        found.transform = transforms.Compose([transforms.Pad(2), *finish])
    else:
        found = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
        found.data, found.targets = images.permute(0, 2, 3, 1).numpy(), labels.tolist()
        found.transform = transforms.Compose([transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), *finish])
    found.target_transform = None
    return found


def plain_loop(
    network: str, images: torch.Tensor, labels: torch.Tensor, batch: int, workers: int
) -> Callable[[], float]:
    net = registry.build(network)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        torchvision_set(network, images, labels),
        batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def epoch() -> float:
        started = time.perf_counter()
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        return len(labels) / (time.perf_counter() - started)

    return epoch


def ours(network: str, images: torch.Tensor, labels: torch.Tensor, batch: int) -> Callable[[], float]:
    """`fit` for one epoch of the published recipe with the same optimiser and loss; images/s as the run records it."""
    part = ArraySplit(images, labels)
    few = DataSet("benchmark", part, part.select(range(10)), tuple("0123456789"), "benchmark")
    preprocessing = data.default_preprocessing(registry.card(network), part)
    recipe = find(network, "published", preprocessing=preprocessing)
    recipe = replace(
        recipe,
        epochs=1,
        batch_size=batch,
        preprocessing=preprocessing,
        optimizer=SGD(lr=0.01, momentum=0.9, weight_decay=1e-4),
        loss=CrossEntropy(),
    )

    def epoch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return fit(recipe, few, Path(folder) / "run", device="cpu").run.rows()[0]["images_per_s"]

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--network", choices=list(SETS), default="lenet5")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    name, batch, count = SETS[arguments.network]
    split = data.load(str(arguments.data_root / name)).train
    images = torch.stack([split.read(i) for i in range(count)])
    labels = split.labels[:count]

    loops = {
        "plain, 0 workers": plain_loop(arguments.network, images, labels, batch, 0),
        "plain, 2 workers": plain_loop(arguments.network, images, labels, batch, 2),
        "convatlas": ours(arguments.network, images, labels, batch),
    }
    for loop in loops.values():
        loop()
    speeds: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(arguments.rounds):
        for loop, epoch in loops.items():
            speeds[loop].append(epoch())
    medians = {loop: statistics.median(values) for loop, values in speeds.items()}
    plain = [loop for loop in loops if loop.startswith("plain")]
    paired = {
        loop: statistics.median(a / b for a, b in zip(speeds["convatlas"], speeds[loop], strict=True)) for loop in plain
    }
    result = {
        "what": f"training throughput of {arguments.network}, batch {batch}, {count} images a round, images/s",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "images_per_s": {loop: [round(value) for value in values] for loop, values in speeds.items()},
        "median_images_per_s": {loop: round(value) for loop, value in medians.items()},
        "median_ratio_to": {loop: round(value, 2) for loop, value in paired.items()},
        "torchvision": torchvision.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"throughput_{arguments.network}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
