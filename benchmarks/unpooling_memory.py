"""What a decoder has to be handed by its encoder: switches of the pooling, or the maps themselves.

    python benchmarks/unpooling_memory.py [--networks segnet_basic segnet_camvid] [--size 360 480] [--threads 1]

Badrinarayanan et al. 2017 keep the places of the maxima, "2 bits for each 2 x 2 pooling window", where U-Net keeps
whole maps. Each network is taken as published and turned into twins whose encoder and decoder convolutions are the
same and that differ in what crosses over: the switches; the maps, added to the up-sampled ones (SegNet-Basic's
"EncoderAddition"); the maps, beside the up-sampled ones, as in U-Net; nothing, with bilinear up-sampling. The table
gives for one image in eval mode what is handed over, the most activations that are alive at once as the trace
counts them, and the most that torch's allocator has handed out at once. The result goes to benchmarks/results/.
"""

import argparse
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from convatlas import registry
from convatlas.analysis.cost import cost
from convatlas.analysis.trace import trace
from convatlas.blocks.unpool import MirroredSequential, SwitchPool2d, SwitchUnpool2d
from convatlas.training.run import environment

CROSSINGS = ("switches", "maps added", "maps beside", "nothing")
MIB = 2**20


class Twin(nn.Module):
    """A mirrored network with its poolings' switches replaced.  (B, C, H, W) -> (B, K, H, W)"""

    def __init__(self, published: MirroredSequential, crossing: str) -> None:
        super().__init__()
        self.crossing = crossing
        doubled = False
        for name, layer in published.named_children():
            if isinstance(layer, SwitchPool2d):
                layer = nn.MaxPool2d(2, ceil_mode=True)
            elif isinstance(layer, SwitchUnpool2d):
                layer, doubled = nn.Identity(), crossing == "maps beside"
            elif doubled:
                assert isinstance(layer, nn.Conv2d)
                layer = nn.Conv2d(2 * layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding)
                doubled = False
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        sizes: list[tuple[int, int]] = []
        for layer in self.children():
            if isinstance(layer, nn.MaxPool2d):
                sizes.append((x.shape[2], x.shape[3]))
                if self.crossing != "nothing":
                    kept.append(x)
            if not isinstance(layer, nn.Identity):
                x = layer(x)
                continue
            x = F.interpolate(x, sizes.pop(), mode="bilinear")
            if self.crossing == "maps added":
                x = x + kept.pop()
            elif self.crossing == "maps beside":
                x = torch.cat((kept.pop(), x), 1)
        return x


def build(name: str, crossing: str) -> nn.Module:
    published = registry.build(name)
    assert isinstance(published, MirroredSequential)
    return (published if crossing == "switches" else Twin(copy.deepcopy(published), crossing)).eval()


def handed_over(name: str, crossing: str, size: tuple[int, int]) -> dict[str, float]:
    """MiB that wait for the decoder, for one image: as torch holds them, and switches as they could be held."""
    pooled: list[int] = []
    net = build(name, "switches")
    for layer in net.modules():
        if isinstance(layer, SwitchPool2d):
            layer.register_forward_hook(lambda _, inputs, output: pooled.extend((inputs[0].numel(), output[0].numel())))
    with torch.no_grad():
        net.to("meta")(torch.empty(1, 3, *size, device="meta"))
    maps, windows = sum(pooled[::2]), sum(pooled[1::2])
    if crossing == "switches":
        return {"int64": 8 * windows / MIB, "uint8": windows / MIB, "2 bits": windows / 4 / MIB}
    return {"float32": (0 if crossing == "nothing" else 4 * maps) / MIB}


def allocated(net: nn.Module, x: Tensor) -> float:
    """The most MiB that a forward pass has in use at once beside its weights, the input included."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        net(x)
    assert record.profiler is not None
    assert record.profiler.kineto_results is not None
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    used = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        used += event.nbytes()
        most = max(most, used)
    return (most + x.untyped_storage().nbytes()) / MIB


def measure(name: str, crossing: str, size: tuple[int, int]) -> dict[str, Any]:
    torch.manual_seed(0)
    net = build(name, crossing)
    x = torch.rand(1, 3, *size)
    measured = allocated(net, x)
    counted = cost(trace(net.to("meta"), (3, *size)), (3, *size))
    return {
        "handed over (MiB)": {key: round(value, 2) for key, value in handed_over(name, crossing, size).items()},
        "activations alive at most, traced (MiB)": round(counted.peak_activation_bytes / MIB, 1),
        "allocated at most, traced with scratch (MiB)": round(counted.peak_bytes / MIB, 1),
        "allocated at most, measured (MiB)": round(measured, 1),
        "parameters": counted.parameters,
        "multiply-adds": counted.multiply_adds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["segnet_basic", "segnet_camvid"])
    parser.add_argument("--size", type=int, nargs=2, default=(360, 480), metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    height, width = arguments.size
    rows = {
        name: {crossing: measure(name, crossing, (height, width)) for crossing in CROSSINGS}
        for name in arguments.networks
    }
    result = {
        "what": "what crosses from encoder to decoder at inference, one image, float32",
        "size": [height, width],
        "date": datetime.now(UTC).date().isoformat(),
        "rows": rows,
        "environment": environment("cpu"),
    }
    target = Path(__file__).parent / "results" / "unpooling_memory.json"
    target.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
