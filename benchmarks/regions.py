"""Test time of R-CNN, SPPnet, Fast and Faster R-CNN with one backbone on the same images, in one interleaved run.

    python benchmarks/regions.py --image FILE... [--backbone caffenet|squeezenet|zf] [--proposals 300] [--rounds 3]
        [--short-side 600] [--threads 2]

Seconds are split into proposals, features (up to a region's description: for R-CNN the warping and a forward pass for
each window, for the others the map or, of SPPnet at five scales, the maps and the windows' pyramids) and
classification (all that is done with a region from then on). SPPnet's pyramid has its own fully connected layers, of
the backbone's widths. Weights are random: they change no time. The first round is not counted. A table is printed; the
result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.transforms.functional import resize

from convatlas import registry
from convatlas.architectures.detection.fast_rcnn import FastRCNN, Trunk, caffenet_trunk
from convatlas.architectures.detection.faster_rcnn import FasterRCNN, squeezenet_trunk, zf_trunk
from convatlas.architectures.detection.rcnn import AT_ONCE, warp
from convatlas.architectures.detection.spp import SCALES, SPPDetector
from convatlas.data.decode import decode
from convatlas.ops.boxes import suppress
from convatlas.ops.low_rank import compress_fully_connected
from convatlas.ops.selective_search import search
from convatlas.training.run import environment

CLASSES = 20
BACKBONES: dict[str, tuple[str, Callable[[int], Trunk], int, dict[str, int]]] = {
    "caffenet": ("caffenet", caffenet_trunk, 256, {"fc6": 1024, "fc7": 256}),
    "squeezenet": ("squeezenet_v1_1", squeezenet_trunk, 512, {"fc6": 64, "fc7": 64}),
    "zf": ("zfnet", zf_trunk, 256, {"fc6": 1024, "fc7": 256}),
}
PARTS: tuple[str, ...] = ("proposals", "features", "classification")


class Clock:
    """Seconds of each part of one pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started


def finish(boxes: Tensor, scores: Tensor) -> None:
    suppress(boxes, scores.softmax(1)[:, 1:], score_above=0.05, iou_above=0.3, most=100)


def rcnn(net: nn.Module, image: Tensor, count: int, side: int) -> Clock:
    """The image as it is: a window is warped whatever its size."""
    clock = Clock()
    with clock.part("proposals"):
        boxes = search(image)[:count]
    rows = []
    for part in boxes.split(AT_ONCE):
        with clock.part("features"):
            rows.append(net(warp(image, part, side=side)))
    with clock.part("classification"):
        finish(boxes, torch.cat(rows))
    return clock


def spp(net: SPPDetector, image: Tensor, count: int) -> Clock:
    clock = Clock()
    with clock.part("proposals"):
        boxes = search(image)[:count]
    with clock.part("features"):
        pooled = net.pyramids(image, boxes)
    with clock.part("classification"):
        finish(boxes, net.classify(pooled))
    return clock


def fast(net: FastRCNN, image: Tensor, count: int, short_side: int) -> Clock:
    clock = Clock()
    with clock.part("proposals"):
        boxes = search(image)[:count]
    scaled = enlarged(image, short_side)
    with clock.part("features"):
        features = net.features(scaled)
    with clock.part("classification"):
        moved = [boxes * (scaled.shape[3] / image.shape[2])]
        net.refine(scaled, features, moved, score_above=0.05, iou_above=0.3, most=100)
    return clock


def faster(net: FasterRCNN, image: Tensor, count: int, short_side: int) -> Clock:
    clock = Clock()
    scaled = enlarged(image, short_side)
    with clock.part("features"):
        features = net.features(scaled)
    with clock.part("proposals"):
        boxes = net.proposals(scaled, net.rpn(features), before=6000, after=count)
    with clock.part("classification"):
        net.refine(scaled, features, boxes, score_above=0.05, iou_above=0.3, most=100)
    return clock


def enlarged(image: Tensor, short_side: int) -> Tensor:
    """To that short side, with at most 1000 pixels on the long one.  (3, H, W) -> (1, 3, H', W')"""
    height, width = image.shape[1:]
    scale = min(short_side / min(height, width), 1000 / max(height, width))
    return resize(image, [round(height * scale), round(width * scale)], antialias=True)[None]


def methods(backbone: str, count: int, short_side: int) -> dict[str, Callable[[Tensor], Clock]]:
    """Networks of the same layers, each made once."""
    name, trunk, width, ranks = BACKBONES[backbone]
    classifier = registry.build(name, num_classes=CLASSES + 1).eval()
    side = registry.card(name).input_shape[1]
    five = SPPDetector(trunk(3), num_classes=CLASSES, width=width).eval()
    single = SPPDetector(trunk(3), num_classes=CLASSES, width=width, scales=(short_side,)).eval()
    one = FastRCNN(trunk(3), num_classes=CLASSES).eval()
    cut = FastRCNN(trunk(3), num_classes=CLASSES).eval()
    compress_fully_connected(cut, **ranks)
    two = FasterRCNN(trunk(3), num_classes=CLASSES, width=(width, 256)).eval()
    made: dict[str, Callable[[Tensor], Clock]] = OrderedDict()
    made["R-CNN"] = lambda image: rcnn(classifier, image, count, side)
    made[f"SPPnet, {len(SCALES)} scales"] = lambda image: spp(five, image, count)
    made["SPPnet, 1 scale"] = lambda image: spp(single, image, count)
    made["Fast R-CNN"] = lambda image: fast(one, image, count, short_side)
    made["Fast R-CNN, truncated SVD"] = lambda image: fast(cut, image, count, short_side)
    made["Faster R-CNN"] = lambda image: faster(two, image, count, short_side)
    return made


def print_table(medians: dict[str, dict[str, float]], faster_by: dict[str, float], title: str) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", title=title)
    for column in ("network", *PARTS, "all", "times R-CNN, without proposals"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for way, by in medians.items():
        numbers = (*(by[part] for part in PARTS), sum(by.values()))
        table.add_row(way, *(f"{seconds:.3f}" for seconds in numbers), f"{faster_by[way]:.1f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, nargs="+", required=True)
    parser.add_argument("--backbone", choices=list(BACKBONES), default="squeezenet")
    parser.add_argument("--proposals", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short-side", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = [decode(str(path)).float() for path in arguments.image]
    ways = methods(arguments.backbone, arguments.proposals, arguments.short_side)
    seconds: dict[str, dict[str, list[float]]] = {way: {part: [] for part in PARTS} for way in ways}
    with torch.inference_mode():
        for counted in range(arguments.rounds + 1):
            for way, run in ways.items():
                clocks = [run(image) for image in images]
                for part in PARTS if counted else ():
                    seconds[way][part].append(statistics.mean(clock.seconds[part] for clock in clocks))
    medians = {way: {part: statistics.median(values) for part, values in by.items()} for way, by in seconds.items()}
    own = {way: by["features"] + by["classification"] for way, by in medians.items()}
    times = {way: round(own["R-CNN"] / value, 1) for way, value in own.items()}
    sizes = ", ".join(sorted({f"{image.shape[2]} x {image.shape[1]}" for image in images}))
    what = f"seconds an image, {len(images)} of {sizes} pixels, {arguments.proposals} proposals, {arguments.backbone}"
    result = {
        "what": what,
        "date": datetime.now(UTC).date().isoformat(),
        "proposals": arguments.proposals,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "short_side": arguments.short_side,
        "median_seconds": {way: {part: round(value, 4) for part, value in by.items()} for way, by in medians.items()},
        "without_proposals_seconds": {way: round(value, 4) for way, value in own.items()},
        "times_faster_than_rcnn_without_proposals": times,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"regions_{arguments.backbone}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print_table(medians, times, what)


if __name__ == "__main__":
    main()
