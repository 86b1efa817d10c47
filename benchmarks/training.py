"""Training against a plain PyTorch loop and a Lightning Trainer, interleaved in one process: images/s and their ratio.

    pip install lightning
    python benchmarks/training.py --data-root FOLDER [--network lenet5|cifar_resnet20|resnet18] [--rounds 5] [--compile]

The plain loop and the Trainer have torchvision's data sets and transforms, a DataLoader (with 2 workers; for LeNet-5
and ResNet-20 without any too), the same network and SGD. Ours takes the steps of `fit`; with --compile it is run
compiled as well. Compiling is done before the first round: a published schedule is long against it. FOLDER holds
mnist_train.npz, cifar10_jpeg_train.npz, or ants_bees/train for ResNet-18 at 224 pixels. The result goes to
benchmarks/results/.
"""

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms

from convatlas import data, registry
from convatlas.data import ArraySplit, DataSet, HorizontalFlip, RandomResizedCrop
from convatlas.records import Preprocessing
from convatlas.training import find
from convatlas.training.distributed import Processes
from convatlas.training.losses import CrossEntropy
from convatlas.training.recipe import SGD
from convatlas.training.run import environment
from convatlas.training.setup import set_up
from throughput import torchvision_set

# network: data, batch, images a round, workers of the plain loops
SETS = {
    "lenet5": ("mnist", 64, 12_800, (0, 2)),
    "cifar_resnet20": ("cifar10_jpeg", 128, 3_840, (0, 2)),
    "resnet18": ("ants_bees/train", 32, 224, (2,)),
}
OPTIMIZER = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
Round = Callable[[], float]  # trains one epoch; images/s


class Module(lightning.LightningModule):
    def __init__(self, network: str) -> None:
        super().__init__()
        self.net = registry.build(network)

    def training_step(self, batch: Any, index: int) -> Any:
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), **OPTIMIZER)


def plain(network: str, loader: DataLoader, count: int) -> Round:
    net = registry.build(network)
    optimizer = torch.optim.SGD(net.parameters(), **OPTIMIZER)

    def epoch() -> float:
        started = time.perf_counter()
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        return count / (time.perf_counter() - started)

    return epoch


def trainer(network: str, loader: DataLoader, count: int) -> Round:
    """Lightning's defaults, without its checkpoints, bar and log files, which ours would have to answer for as well."""
    module = Module(network)

    def epoch() -> float:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        run = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, **quiet)
        started = time.perf_counter()
        run.fit(module, loader)
        return count / (time.perf_counter() - started)

    return epoch


def ours(network: str, parts: DataSet, batch: int, *, compiled: bool) -> Round:
    """One epoch after another of the steps of `fit`; the set-up, and the compiling in the first, are done once."""
    card = registry.card(network)
    preprocessing = data.default_preprocessing(card, parts.train)
    recipe = find(network, "published", preprocessing=preprocessing)
    augment = (RandomResizedCrop((224, 224)), HorizontalFlip()) if network == "resnet18" else recipe.augment
    if network == "resnet18":
        preprocessing = Preprocessing(size=(224, 224))
    recipe = replace(
        recipe,
        epochs=1,
        batch_size=batch,
        preprocessing=preprocessing,
        augment=augment,
        optimizer=SGD(**OPTIMIZER),
        loss=CrossEntropy(),
        channels_last=network != "lenet5",
        compile=compiled,
    )
    setup = set_up(recipe, parts, Processes(torch.device("cpu")), workers=2)
    number = iter(range(1_000_000))

    def epoch() -> float:
        started = time.perf_counter()
        setup.learner.begin_pass(0)
        for step, batch in enumerate(setup.train.epoch(next(number))):
            setup.learner.learn(batch, step, 0.01)
        return len(parts.train) / (time.perf_counter() - started)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--network", choices=list(SETS), default="lenet5")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help="a round; otherwise as many as the network takes some seconds for")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # Lightning's advice on workers
    name, batch, count, worker_counts = SETS[arguments.network]
    count = arguments.images or count
    if arguments.network == "resnet18":
        split = data.load(str(arguments.data_root / name)).train
        split = split.select(range(min(count, len(split))))
        steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        steps.append(transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        folder = torchvision.datasets.ImageFolder(str(arguments.data_root / name), transforms.Compose(steps))
        images: Any = torch.utils.data.Subset(folder, range(len(split)))
    else:
        whole = data.load(str(arguments.data_root / name)).train
        split = ArraySplit(torch.stack([whole.read(i) for i in range(count)]), whole.labels[:count])
        images = torchvision_set(arguments.network, split.images, split.labels)
    count = len(split)
    parts = DataSet("benchmark", split, split.select(range(10)), tuple(map(str, range(1000))), "benchmark")
    if arguments.network != "resnet18":
        parts = replace(parts, classes=tuple("0123456789"))

    loops: dict[str, Round] = {}
    for workers in worker_counts:
        loader = DataLoader(images, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        loops[f"plain, {workers} workers"] = plain(arguments.network, loader, count)
        loops[f"Lightning, {workers} workers"] = trainer(arguments.network, loader, count)
    loops["convatlas"] = ours(arguments.network, parts, batch, compiled=False)
    if arguments.compile:
        loops["convatlas, compiled"] = ours(arguments.network, parts, batch, compiled=True)
    first = {}
    for loop, epoch in loops.items():
        started = time.perf_counter()
        epoch()
        first[loop] = round(time.perf_counter() - started, 1)
    speeds: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(arguments.rounds):
        for loop, epoch in loops.items():
            speeds[loop].append(epoch())
    mine = [loop for loop in loops if loop.startswith("convatlas")]
    result = {
        "what": f"training throughput of {arguments.network}, batch {batch}, {count} images a round, images/s",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "median_images_per_s": {loop: round(statistics.median(values), 1) for loop, values in speeds.items()},
        "median_ratio": {
            own: {
                loop: round(statistics.median(a / b for a, b in zip(speeds[own], speeds[loop], strict=True)), 2)
                for loop in loops
                if loop not in mine
            }
            for own in mine
        },
        "first_epoch_s": first,  # with the compiling
        "lightning": lightning.__version__,
        "torchvision": torchvision.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"training_{arguments.network}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
