"""Grad-CAM against captum's LayerGradCam, interleaved in one process on one thread: CPU milliseconds and ratios.

    python benchmarks/grad_cam.py [--networks squeezenet_v1_1 resnet18 vgg16 cifar_resnet20] [--rounds 25]

Both get the same network, image, class and layer, the last with maps; the values must agree. The ratio is one of user
time, so that other work on the machine counts as little as it can; the system's time beside it is mostly what the
allocator takes to get pages back that it gave away, and goes up and down from process to process. The result goes to
benchmarks/results/.
"""

import argparse
import json
import resource
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import captum
import torch
from captum.attr import LayerGradCam

from convatlas import registry
from convatlas.training.run import environment
from convatlas.visualise import attribution

TARGET = 3
WARM_UP = 3


def measure(name: str, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    net = registry.build(name).eval()
    x = torch.randn(1, *registry.card(name).input_shape)
    layer = attribution.last_maps(net, x)
    theirs = LayerGradCam(net, net.get_submodule(layer))
    works: dict[str, Callable[[], Any]] = {
        "convatlas": lambda: attribution.grad_cam(net, x, TARGET, layer),
        "captum": lambda: theirs.attribute(x, target=TARGET, relu_attributions=True),
    }
    ours, captums = works["convatlas"]().values, works["captum"]()[0, 0].detach()
    user: dict[str, list[float]] = {one: [] for one in works}
    system: dict[str, list[float]] = {one: [] for one in works}
    for done in range(rounds + WARM_UP):
        for one in list(works)[:: 1 if done % 2 else -1]:
            before = resource.getrusage(resource.RUSAGE_SELF)
            works[one]()
            after = resource.getrusage(resource.RUSAGE_SELF)
            if done >= WARM_UP:
                user[one].append(1000 * (after.ru_utime - before.ru_utime))
                system[one].append(1000 * (after.ru_stime - before.ru_stime))
    return {
        "layer": layer,
        "median_user_ms": {one: round(statistics.median(values), 2) for one, values in user.items()},
        "median_system_ms": {one: round(statistics.median(values), 2) for one, values in system.items()},
        "ratio_of_user_time": round(statistics.median(user["captum"]) / statistics.median(user["convatlas"]), 3),
        "largest_difference": float((torch.from_numpy(ours) - captums).abs().max()),
        "largest_value": float(captums.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["squeezenet_v1_1", "resnet18", "vgg16", "cifar_resnet20"])
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "what": "Grad-CAM of one image, CPU milliseconds on one thread; ratio: captum's over convatlas'",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "networks": {name: measure(name, arguments.rounds) for name in arguments.networks},
        "captum": captum.__version__,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / "grad_cam.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
