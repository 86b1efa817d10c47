"""Segmenters against torchvision's fcn_resnet50 in one process, in turns: seconds an image and for each multiply-add.

    python benchmarks/segmenters.py [--networks fcn8s_squeezenet,segnet_camvid,...] [--size 360 480] [--rounds 7]
        [--engines eager,fused] [--threads 2]

Ours are laid out as `predict` has them, with channels last. All have 21 classes or their own number, random weights,
one image of the same size (those that take one size only get that), float32, in eval mode. Multiply-adds are counted
by torch's FlopCounterMode for all alike. The ratio of frames/s of ENet to SegNet stands beside them. The result goes to
benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convatlas import registry
from convatlas.errors import ConvatlasError
from convatlas.inference import engines
from convatlas.sizes import find_sizes
from convatlas.training.run import environment

NETWORKS = (
    "fcn8s_squeezenet", "unet_squeezenet", "fcn8s_vgg16_voc", "segnet_camvid", "segnet_basic", "enet_640x360",
    "deeplab_largefov_voc",
)  # fmt: skip
THEIRS = "torchvision fcn_resnet50"


class Logits(nn.Module):
    """torchvision's segmenters give a dictionary."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)["out"]


def multiply_adds(net: nn.Module, shape: tuple[int, ...]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def fitting(net: nn.Module, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, ...]:
    """(C, H, W): the wanted size, or the network's own where it does not take that."""
    axes = find_sizes(net, shape)
    fits = all(axis is not None and side in axis for side, axis in zip(size, axes, strict=True))
    return (shape[0], *size) if fits else shape


def subjects(names: list[str], size: tuple[int, int], kinds: list[str]) -> dict[str, tuple[Callable, Tensor, int]]:
    """What is timed -> (pass, image, multiply-adds)"""
    found: dict[str, tuple[Callable, Tensor, int]] = {}
    theirs = Logits(torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None)).eval()
    shape = (3, *size)
    found[f"{THEIRS}, eager"] = (theirs, torch.randn(1, *shape), multiply_adds(theirs, shape))
    for name in names:
        net = registry.build(name).eval()
        own = fitting(net, registry.card(name).input_shape, size)
        counted, image = multiply_adds(net, own), torch.randn(1, *own)
        net = net.to(memory_format=torch.channels_last)
        for kind in kinds:
            try:
                engine = engines.build(kind, net, own, batch_size=1)
            except ConvatlasError as error:  # a switch may flip where two values are equal but for their last bits
                print(f"{name}: {error}")
                continue
            found[f"{name}, {kind}"] = (engine.run, image, counted)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engines", default="eager,fused")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    timed = subjects(arguments.networks.split(","), tuple(arguments.size), arguments.engines.split(","))
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    with torch.inference_mode():
        for round_ in range(arguments.rounds + 1):
            for name, (run, image, _) in timed.items():
                started = time.perf_counter()
                run(image)
                if round_:  # the first warms up
                    seconds[name].append(time.perf_counter() - started)
    base = f"{THEIRS}, eager"

    def per_gmac(name: str) -> list[float]:
        return [value / (timed[name][2] / 1e9) for value in seconds[name]]

    rows: dict[str, Any] = {
        name: {
            "input": list(timed[name][1].shape[1:]),
            "giga_multiply_adds": round(timed[name][2] / 1e9, 3),
            "median_ms": round(1e3 * statistics.median(values), 2),
            "median_ms_per_giga_multiply_add": round(1e3 * statistics.median(per_gmac(name)), 2),
            "speed_per_multiply_add_of_theirs": round(
                statistics.median(a / b for a, b in zip(per_gmac(base), per_gmac(name), strict=True)), 2
            ),
        }
        for name, values in seconds.items()
    }
    ratios = {
        kind: round(
            statistics.median(
                a / b for a, b in zip(seconds[f"segnet_camvid, {kind}"], seconds[f"enet_640x360, {kind}"], strict=True)
            ),
            2,
        )
        for kind in arguments.engines.split(",")
        if {f"segnet_camvid, {kind}", f"enet_640x360, {kind}"} <= seconds.keys()
    }
    result = {
        "what": f"segmenters on one image of {arguments.size[0]} x {arguments.size[1]} against {THEIRS}",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "networks": rows,
        "frames_per_second_of_enet_over_segnet": ratios,
        "torchvision": torchvision.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / "segmenters.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
