"""Engines against torchvision in eager mode on the same weights, float32: one interleaved run, ratios of medians.

    python benchmarks/engines.py [--networks resnet18,...] [--batches 1,16] [--rounds 15] [--threads 2] [--int8]

Each way to compute runs in a process of its own, so that none shares an allocator or threads with another, and they
take turns in random order: in each round every process does two forward passes, of which the second counts, while the
others wait. `auto` chooses in its process, as
`convatlas predict` does from 200 images on. "ONNX Runtime alone" and "OpenVINO alone" are what a user would write:
torchvision's network through torch's exporter, and a session with default settings but for the threads and float32.
"int8" is the network quantised on noise: its speed is measured here, its accuracy with `convatlas export --data`.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

from convatlas import inference, weights
from convatlas.inference import engines
from convatlas.training.run import environment

NETWORKS = {
    "resnet18": "resnet18",
    "resnet50_stride3x3": "resnet50",
    "vgg_d": "vgg16",
    "googlenet_bn": "googlenet",
    "densenet121": "densenet121",
    "squeezenet_v1_1": "squeezenet1_1",
    "inception_v3": "inception_v3",
}
ALONE = ("ONNX Runtime alone", "OpenVINO alone")
Run = Callable[[torch.Tensor], torch.Tensor]


def shape_of(name: str) -> tuple[int, int, int]:
    """torchvision's input."""
    return (3, 299, 299) if name == "inception_v3" else (3, 224, 224)


def theirs(name: str, state: Path) -> torch.nn.Module:
    special: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = getattr(torchvision.models, name)(weights=None, **special)
    if state.exists():
        net.load_state_dict(torch.load(state, weights_only=True))
    return net.eval()


def prepare(kind: str, name: str, batch: int, state: Path) -> tuple[str, Run]:
    """What was taken, and the function."""
    shape = shape_of(name)
    if kind == "torchvision eager":
        return kind, theirs(NETWORKS[name], state)
    if kind in ALONE:
        model = state.with_suffix(f".{kind[:4]}.onnx")
        torch.onnx.export(
            theirs(NETWORKS[name], state), (torch.zeros(batch, *shape),), str(model), dynamo=False,
            input_names=["x"], dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
        return kind, (onnx_runtime_alone if kind == ALONE[0] else partial(open_vino_alone, batch=batch))(model)
    net = weights.create(name, weights=state).eval()
    if kind == "int8":
        return int8(name, net, batch, state)
    if kind == "auto":
        engine, _ = engines.choose(net, name, shape, batch_size=batch)
        return engine.name, engine.run
    return kind, engines.build(kind, net, shape, batch_size=batch).run


def onnx_runtime_alone(model: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def open_vino_alone(model: Path, batch: int) -> Run:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    read = openvino.Core().read_model(model)
    read.reshape([batch, *[dimension.get_length() for dimension in list(read.inputs[0].get_partial_shape())[1:]]])
    compiled = openvino.Core().compile_model(read, "CPU", settings)
    return lambda x: torch.from_numpy(compiled([x.numpy()])[0])


def int8(name: str, net: torch.nn.Module, batch: int, state: Path) -> tuple[str, Run]:
    source = inference.source.open_weights(name, state)
    file = state.with_suffix(".int8.onnx")
    noise = state.parent / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(noise)
    inference.quantise(source, file, [noise])
    opened = inference.open_source(str(file))
    engine, _ = engines.choose(opened.net, f"{name} int8", shape_of(name), batch_size=batch)
    return engine.name, engine.run


def work(kind: str, name: str, batch: int, state: Path, threads: int, pipe: Connection) -> None:
    """A process: prepares, then one timed pass for every message, until the message is None."""
    torch.set_num_threads(threads)
    try:
        taken, run = prepare(kind, name, batch, state)
        x = torch.randn(batch, *shape_of(name), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            first = run(x)
            pipe.send((taken, first.numpy().tolist()))
            while pipe.recv() is not None:
                run(x)  # what the other processes left in the caches is nobody's merit
                started = time.perf_counter()
                run(x)
                pipe.send(time.perf_counter() - started)
    except Exception as error:
        pipe.send((f"{type(error).__name__}: {error}", None))


def measure(name: str, batch: int, kinds: list[str], rounds: int, threads: int, state: Path) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    taken, failed, logits = {}, {}, {}
    for kind in kinds:  # one after the other, so that `auto` measures undisturbed
        ours, other = context.Pipe()
        context.Process(target=work, args=(kind, name, batch, state, threads, other), daemon=True).start()
        other.close()
        try:
            what, first = ours.recv()
        except EOFError:
            what, first = "the process died", None
        if first is None:
            failed[kind] = what
        else:
            pipes[kind], taken[kind], logits[kind] = ours, what, torch.tensor(first)
    times: dict[str, list[float]] = {kind: [] for kind in pipes}
    for count in range(rounds + 2):
        for kind, pipe in random.Random(count).sample(list(pipes.items()), len(pipes)):
            pipe.send("go")
            seconds = pipe.recv()
            if count >= 2:
                times[kind].append(seconds)
    for pipe in pipes.values():
        pipe.send(None)
    plain = times["torchvision eager"]
    expected = logits["torchvision eager"]
    scale = expected.abs().max().clamp_min(1)
    return {
        "network": name,
        "batch": batch,
        "median_ms": {kind: round(1e3 * statistics.median(values), 2) for kind, values in times.items()},
        "ratio_to_torchvision": {
            kind: round(statistics.median(a / b for a, b in zip(plain, values, strict=True)), 2)
            for kind, values in times.items()
        },
        "taken": {kind: what for kind, what in taken.items() if kind in ("auto", "int8")},
        "difference": {kind: float(f"{(value - expected).abs().max() / scale:.1e}") for kind, value in logits.items()},
        "failed": failed,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios of `auto`, and its time against the faster of the two libraries alone."""
    ratios = [row["ratio_to_torchvision"]["auto"] for row in rows if "auto" in row["ratio_to_torchvision"]]
    against = [
        row["median_ms"]["auto"] / min(row["median_ms"][kind] for kind in ALONE if kind in row["median_ms"])
        for row in rows
        if "auto" in row["median_ms"] and any(kind in row["median_ms"] for kind in ALONE)
    ]
    eight = [row["ratio_to_torchvision"]["int8"] for row in rows if "int8" in row["ratio_to_torchvision"]]
    return {
        "auto_median_ratio": round(statistics.median(ratios), 2) if ratios else None,
        "auto_least_ratio": min(ratios, default=None),
        "auto_time_over_faster_library_worst": round(max(against), 3) if against else None,
        "int8_least_ratio": min(eight, default=None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engines", default="fused", help="engines to measure beside auto, by name")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "engines.json")
    arguments = parser.parse_args()
    kinds = ["torchvision eager", "auto", *ALONE, *filter(None, arguments.engines.split(","))]
    kinds += ["int8"] if arguments.int8 else []
    rows = []
    for name in arguments.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state.pth"
            torch.manual_seed(0)
            torch.save(theirs(NETWORKS[name], state).state_dict(), state)
            for batch in map(int, arguments.batches.split(",")):
                rows.append(measure(name, batch, kinds, arguments.rounds, arguments.threads, state))
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "what": "forward passes against torchvision in eager mode, same weights, float32, each way in its own process",
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "summary": summary(rows),
        "rows": rows,
        "torchvision": torchvision.__version__,
        "environment": environment("cpu"),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


if __name__ == "__main__":
    main()
