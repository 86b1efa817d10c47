"""`predict` over a folder of JPEGs, decoding included, against a plain torchvision script: images/s and their ratio.

    python benchmarks/predict.py IMAGES [--network resnet50_stride3x3] [--copies 3] [--rounds 3] [--batch 16]

The plain script is what torchvision's documentation shows: PIL, transforms, a DataLoader without workers and with two,
its network in eager mode, the same weights and images. IMAGES is a folder; it is read `--copies` times over.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from convatlas import inference
from convatlas.training.run import environment
from engines import NETWORKS, theirs


class Images(Dataset):
    def __init__(self, files: list[Path], size: int) -> None:
        self.files = files
        self.transform = transforms.Compose([
            transforms.Resize(256 if size < 256 else 342), transforms.CenterCrop(size), transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.files[index]).convert("RGB"))


def plain(net: torch.nn.Module, files: list[Path], size: int, batch: int, workers: int) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            for x in DataLoader(Images(files, size), batch, num_workers=workers):
                net(x).softmax(1).topk(5)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--network", choices=list(NETWORKS), default="resnet50_stride3x3")
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    files, _ = inference.find_images([arguments.images])
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.pth"
        net = theirs(NETWORKS[arguments.network], state)
        torch.save(net.state_dict(), state)
        source = inference.source.open_weights(arguments.network, state)
        copies = []
        for index in range(arguments.copies):
            for file in files:
                copy = Path(folder) / f"{index}_{file.name}"
                copy.write_bytes(file.read_bytes())
                copies.append(copy)
        size = source.preprocessing.size[0]
        ways = {
            "plain, 0 workers": plain(net, copies, size, arguments.batch, 0),
            "plain, 2 workers": plain(net, copies, size, arguments.batch, 2),
            "convatlas": lambda: inference.predict(source, copies, batch_size=arguments.batch),
        }
        ways["convatlas"]()  # measures the engines, if this machine does not know the fastest
        speeds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, run in ways.items():
                started = time.perf_counter()
                run()
                speeds[way].append(len(copies) / (time.perf_counter() - started))
    result = {
        "what": f"images/s of {arguments.network}, batch {arguments.batch}, {len(copies)} JPEGs, decoding included",
        "date": datetime.now(UTC).date().isoformat(),
        "median_images_per_s": {way: round(statistics.median(values), 1) for way, values in speeds.items()},
        "median_ratio_to": {
            way: round(statistics.median(a / b for a, b in zip(speeds["convatlas"], speeds[way], strict=True)), 2)
            for way in ways
            if way != "convatlas"
        },
        "torchvision": torchvision.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"predict_{arguments.network}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
