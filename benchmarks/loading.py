"""Loading speed against torchvision's reference transforms, interleaved in one process: images/s and their ratio.

    python benchmarks/loading.py photos --data FOLDER [--workers 2] [--rounds 5]
    python benchmarks/loading.py small --data cifar10_jpeg_train.npz [--rounds 5]

`photos`: JPEG files of any folder become batches of 224-pixel crops of random area and aspect, mirrored and normalised.
The reference is torchvision's: PIL images in an ImageFolder, RandomResizedCrop, flip, normalise, in a DataLoader.
`small`: 32-pixel images in memory with pad-4 crop, mirror and normalisation, one by one as torchvision's CIFAR10 does
it, and as one gather over the batch. The result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from convatlas import data
from convatlas.data import ArraySplit, FileSplit, HorizontalFlip, LabelAssembly, Loader, PadCrop, RandomResizedCrop
from convatlas.data.folder import SUFFIXES
from convatlas.records import Preprocessing
from convatlas.training.run import environment

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Way = Callable[[], float]  # one round, images/s


def timed(count: int, batches: Callable[[int], Iterable[Any]]) -> Way:
    rounds = iter(range(1_000_000))

    def way() -> float:
        started, seen = time.perf_counter(), 0
        for batch in batches(next(rounds)):
            seen += len(batch.images if hasattr(batch, "images") else batch[0])
        assert seen == count
        return count / (time.perf_counter() - started)

    return way


def photos(folder: Path, *, workers: int, repeat: int, batch: int) -> dict[str, Way]:
    files = sorted(path.resolve() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    split = FileSplit([str(path) for path in files] * repeat, torch.arange(len(files) * repeat) % 10)
    count = len(split)
    finish = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), v2.ToPureTensor()]
    reference = v2.Compose([v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(), *finish])
    tree = Path(tempfile.mkdtemp())
    for place, path in enumerate(split.paths):
        target = tree / str(place % 10) / f"{place}{path[path.rindex('.') :]}"
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(path)
    images = torchvision.datasets.ImageFolder(str(tree), reference)
    preprocessing = Preprocessing((224, 224), 3, "short_side", 256, MEAN, STD)
    augment = (RandomResizedCrop((224, 224)), HorizontalFlip())
    ways = {}
    for number in sorted({0, workers}):
        theirs = DataLoader(images, batch, shuffle=True, num_workers=number, persistent_workers=number > 0)
        ours = Loader(
            LabelAssembly(split, preprocessing, augment),
            batch_size=batch,
            shuffle=True,
            workers=number,
            memory_limit_bytes=0,
            check=False,
        )
        ways[f"torchvision, PIL, {number} workers"] = timed(count, lambda _, loader=theirs: loader)
        ways[f"convatlas, {number} workers"] = timed(count, lambda epoch, loader=ours: loader.epoch(epoch))
    kept = Loader(
        LabelAssembly(split, preprocessing, augment), batch_size=batch, shuffle=True, memory_limit_bytes=1 << 40
    )
    ways["convatlas, decoded images in memory"] = timed(count, kept.epoch)
    return ways


def small(path: Path, *, workers: int, count: int, batch: int) -> dict[str, Way]:
    split = data.load(str(path)).train
    images = torch.stack([split.read(i) for i in range(count)])
    labels = split.labels[:count]
    mean, std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    found = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
    found.data, found.targets, found.target_transform = images.permute(0, 2, 3, 1).numpy(), labels.tolist(), None
    finish = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    found.transform = v2.Compose([v2.RandomCrop(32, 4), v2.RandomHorizontalFlip(), *finish])
    ways = {}
    for number in sorted({0, workers}):
        theirs = DataLoader(found, batch, shuffle=True, num_workers=number, persistent_workers=number > 0)
        ways[f"torchvision, PIL, {number} workers"] = timed(count, lambda _, loader=theirs: loader)
    preprocessing = Preprocessing((32, 32), 3, mean=mean, std=std)
    ours = Loader(
        LabelAssembly(ArraySplit(images, labels), preprocessing, (PadCrop(4), HorizontalFlip())),
        batch_size=batch,
        shuffle=True,
    )
    ways["convatlas, whole batches"] = timed(count, ours.epoch)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("photos", "small"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=10, help="how often each photo comes in a round")
    parser.add_argument("--count", type=int, default=10_000, help="small images a round")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "photos":
        ways = photos(arguments.data, workers=arguments.workers, repeat=arguments.repeat, batch=64)
    else:
        ways = small(arguments.data, workers=arguments.workers, count=arguments.count, batch=128)
    for way in ways.values():
        way()
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            speeds[name].append(way())
    references = [name for name in ways if name.startswith("torchvision")]
    result = {
        "what": f"loading of {arguments.what}, images/s",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "images_per_s": {name: [round(value) for value in values] for name, values in speeds.items()},
        "median_images_per_s": {name: round(statistics.median(values)) for name, values in speeds.items()},
        "median_ratio_to": {
            reference: {
                name: round(statistics.median(a / b for a, b in zip(speeds[name], speeds[reference], strict=True)), 2)
                for name in ways
                if name != reference
            }
            for reference in references
        },
        "torchvision": torchvision.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"loading_{arguments.what}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
