"""The fastest engine for a network on this machine: measured once, then remembered."""

import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convatlas.caches import cache_folder
from convatlas.errors import ConvatlasError
from convatlas.inference.engines.build import Engine, build
from convatlas.records import ExportedProgram, Shape
from convatlas.training.run import environment, write_text

_PACKAGES = ("torch", "onnxruntime", "openvino")
_CANDIDATES = ("eager", "fused", "onnxruntime", "openvino")
_ROUNDS, _LEAST_ROUNDS = 30, 3
_SECONDS, _MORE_SECONDS = 4.0, 8.0  # of measuring all, and those within _CLOSE of the fastest
_CLOSE = 1.2


@dataclass(frozen=True)
class Choice:
    """What was measured for one network, input and batch size, and what was chosen."""

    engine: str
    ms: dict[str, float]  # median of a forward pass of one batch, by engine
    left_out: dict[str, str]  # reason, by engine
    date: str


def choose(
    net: nn.Module,
    name: str,
    input_shape: Shape,
    *,
    batch_size: int,
    measure: bool = True,
    on_step: Callable[[str], None] = lambda _: None,
) -> tuple[Engine, Choice | None]:
    """The fastest engine on the CPU, ready to run, and what the choice rests on.

    What was measured for the same name, shapes, batch size, threads, versions and processor is taken from
    `<cache>/engines.json`. torch.compile is a candidate only where neither ONNX Runtime nor OpenVINO works: it was
    slower than they for every network that was tried, and takes up to minutes to build.

    Args:
        name: the network's registered name.
        measure: False takes "fused" where nothing is remembered, and gives None for the choice.
        on_step: told what is being done, in a few words.

    Raises:
        UsageError: a batch size below 1.
    """
    make = partial(build, net=net, input_shape=input_shape, batch_size=batch_size)
    key = key_of(net, name, input_shape, batch_size)
    known = remembered().get(key)
    for engine in (known.engine,) if known else () if measure else ("fused",):
        with suppress(ConvatlasError):  # it worked when it was measured; otherwise we measure again
            on_step(f"building engine {engine}")
            return make(engine), known
    engines, left_out = _build_all(make, on_step)
    on_step(f"measuring engines {', '.join(engines)}")
    ms = measure_ms(engines, torch.randn(batch_size, *input_shape))
    found = Choice(min(ms, key=ms.__getitem__), ms, left_out, datetime.now(UTC).date().isoformat())
    remember(key, found)
    return engines[found.engine], found


def _build_all(
    make: Callable[[str], Engine], on_step: Callable[[str], None]
) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engines that work, by name, and why the others do not."""
    engines: dict[str, Engine] = {}
    left_out: dict[str, str] = {}
    for engine in (*_CANDIDATES, "compile"):
        if engine == "compile" and engines.keys() & {"onnxruntime", "openvino"}:
            left_out[engine] = "slow to build; tried only where neither onnxruntime nor openvino works"
            continue
        on_step(f"building engine {engine}")
        try:
            engines[engine] = make(engine)
        except ConvatlasError as error:
            left_out[engine] = str(error)
    return engines, left_out


def measure_ms(engines: dict[str, Engine], batch: torch.Tensor) -> dict[str, float]:
    """The median time of a forward pass by engine: all take turns, and then those that are close to the fastest."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    with torch.inference_mode():
        for engine in engines.values():
            engine.run(batch)
        _take_turns(engines, batch, times, _SECONDS)
        ms = {name: statistics.median(values) for name, values in times.items()}
        close = {name: engine for name, engine in engines.items() if ms[name] <= _CLOSE * min(ms.values())}
        if len(close) > 1:
            _take_turns(close, batch, times, _MORE_SECONDS)
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def _take_turns(engines: dict[str, Engine], batch: torch.Tensor, times: dict[str, list[float]], seconds: float) -> None:
    end = time.perf_counter() + seconds
    for count in range(_ROUNDS):
        for name, engine in engines.items():
            engine.run(batch)  # the others' data in the caches and their spinning threads count for none
            started = time.perf_counter()
            engine.run(batch)
            times[name].append(1e3 * (time.perf_counter() - started))
        if count + 1 >= _LEAST_ROUNDS and time.perf_counter() > end:
            break


def key_of(net: nn.Module, name: str, input_shape: Shape, batch_size: int) -> str:
    """What a measurement holds for, in words."""
    shape = " x ".join(map(str, input_shape))
    model = net.onnx_model if isinstance(net, ExportedProgram) else None
    size = f"{sum(p.numel() for p in net.parameters())} parameters" if model is None else f"{len(model)} bytes of ONNX"
    versions = ", ".join(f"{package} {_version(package)}" for package in _PACKAGES)
    threads = torch.get_num_threads()
    return (
        f"{name} of {size}, {shape}, batch {batch_size}, {threads} threads, {versions}, "
        f"{environment('cpu')['processor']}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def remembered() -> dict[str, Choice]:
    """All measurements of this machine, by what they hold for; empty where the file is absent or damaged."""
    try:
        entries: dict[str, Any] = json.loads(_file().read_text())
        return {key: Choice(**entry) for key, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def remember(key: str, choice: Choice) -> None:
    """Adds a measurement; where the cache can't be written, the next use measures again."""
    entries = {known: asdict(value) for known, value in remembered().items()} | {key: asdict(choice)}
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_text(_file(), json.dumps(entries, indent=2))


def _file() -> Path:
    """`engines.json` in the cache folder."""
    return cache_folder() / "engines.json"
