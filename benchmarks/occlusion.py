"""Occlusion and Grad-CAM against captum's, interleaved in one process: seconds and ratios; the values must agree.

    python benchmarks/occlusion.py [--network squeezenet_v1_1] [--size 48] [--stride 12] [--rounds 5] [--threads 0]

captum's Occlusion runs as it comes (one place per forward pass) and with as many places per pass as ours. Both get the
same network, image, square and stride. The result goes to benchmarks/results/.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import captum
import numpy as np
import torch
from captum.attr import LayerGradCam
from captum.attr import Occlusion as CaptumOcclusion

from convatlas import registry
from convatlas.training.run import environment
from convatlas.visualise import attribution, occlusion

TARGET = 3


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="squeezenet_v1_1")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--stride", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    net = registry.build(arguments.network).eval()
    x = torch.randn(1, *registry.card(arguments.network).input_shape)
    size, stride, batch = arguments.size, arguments.stride, arguments.batch_size
    layer = attribution.last_maps(net, x)
    theirs = CaptumOcclusion(net)
    settings = {
        "target": TARGET,
        "sliding_window_shapes": (x.shape[1], size, size),
        "strides": (x.shape[1], stride, stride),
    }
    theirs_cam = LayerGradCam(net, net.get_submodule(layer))

    works: dict[str, Callable[[], Any]] = {
        "occlusion, convatlas": lambda: occlusion.occlude(
            net, x, TARGET, size=size, stride=stride, layer=layer, batch_size=batch
        ),
        "occlusion, captum": lambda: theirs.attribute(x, **settings),
        "occlusion, captum batched": lambda: theirs.attribute(x, **settings, perturbations_per_eval=batch),
        "Grad-CAM, convatlas": lambda: attribution.grad_cam(net, x, TARGET, layer),
        "Grad-CAM, captum": lambda: theirs_cam.attribute(x, target=TARGET, relu_attributions=True),
    }
    ours, captums = works["occlusion, convatlas"](), works["occlusion, captum"]()
    difference = float(np.abs(ours.lost(*x.shape[2:]) - captums[0, 0].numpy()).max() / captums.abs().max())
    for name in ("Grad-CAM, convatlas", "Grad-CAM, captum"):
        for _ in range(3):
            works[name]()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.rounds):
        for name, work in works.items():
            times[name].append(seconds(work))

    def ratio(slow: str, fast: str) -> float:
        return round(statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True)), 2)

    result = {
        "what": f"occlusion ({size} px square, stride {stride}, {ours.score.size} places, {batch} a pass) and Grad-CAM "
        f"of {arguments.network}, seconds",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "seconds": {name: [round(value, 4) for value in values] for name, values in times.items()},
        "median_seconds": {name: round(statistics.median(values), 4) for name, values in times.items()},
        "median_speedup_of_occlusion": ratio("occlusion, captum", "occlusion, convatlas"),
        "median_speedup_of_occlusion_over_captum_batched": ratio("occlusion, captum batched", "occlusion, convatlas"),
        "median_speedup_of_grad_cam": ratio("Grad-CAM, captum", "Grad-CAM, convatlas"),
        "largest_difference_of_occlusion": difference,
        "captum": captum.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / f"occlusion_{arguments.network}.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
