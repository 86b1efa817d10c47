"""`convatlas doctor`: what this machine can do, what is missing, and how to get it."""

import importlib.util
import os
import platform
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.common import console, print_json
from convatlas.cli.tables import Column, print_table

GIB = 2**30
# What needs a package beyond the basic installation: package -> (what for, how to get it).
ENGINES = {
    "onnxruntime": ("ONNX Runtime engine", "pip install onnx onnxscript onnxruntime"),
    "openvino": ("OpenVINO engine", "pip install openvino"),
}


def command(
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")] = False,
) -> None:
    """What this machine can do, what is missing, and how to get it.

    Versions, processor, memory, disk, GPUs, number formats worth using (bfloat16 is timed against float32), engines.
    """
    found = examine()
    if json:
        print_json(found)
    else:
        show(found)


def examine() -> dict[str, Any]:
    """All that is known, as plain values; sizes in GiB, times in milliseconds."""
    import torch

    import convatlas

    return {
        "versions": {
            "convatlas": convatlas.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
        },
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": processor(),
            "cores": os.cpu_count(),
            "usable_cores": usable_cores(),
            "torch_threads": torch.get_num_threads(),
            **memory(),
            "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / GIB, 1),
        },
        "gpus": gpus(torch),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "mps": torch.backends.mps.is_available(),
        "precision": precisions(torch),
        "engines": engines(),
        "fastest_engines": fastest_engines(),
    }


def version(package: str) -> str | None:
    try:
        return installed_version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name; Linux keeps it where platform.processor does not look."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> dict[str, float]:
    import psutil

    state = psutil.virtual_memory()
    return {"memory_gib": round(state.total / GIB, 1), "available_memory_gib": round(state.available / GIB, 1)}


def gpus(torch: Any) -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {"device": f"cuda:{index}", "name": properties.name, "memory_gib": round(properties.total_memory / GIB, 1)}
        )
    return found


def precisions(torch: Any) -> dict[str, Any]:
    """float32 against bfloat16 on a 512 x 512 product on the CPU: the best of five, interleaved."""
    side, best = 512, {"float32": float("inf"), "bfloat16": float("inf")}
    matrices = {name: torch.ones(side, side, dtype=getattr(torch, name)) for name in best}
    with torch.inference_mode():
        for _ in range(6):  # the first round warms up and is as a rule the slowest, so the minimum drops it
            for name, matrix in matrices.items():
                start = time.perf_counter()
                torch.mm(matrix, matrix)
                best[name] = min(best[name], time.perf_counter() - start)
    ratio = best["bfloat16"] / best["float32"]
    advice = {"cpu": "bfloat16" if ratio < 0.8 else "float32"}
    if torch.cuda.is_available():
        advice["cuda"] = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return {
        "cpu_float32_ms": round(1e3 * best["float32"], 2),
        "cpu_bfloat16_ms": round(1e3 * best["bfloat16"], 2),
        "cpu_bfloat16_over_float32": round(ratio, 2),
        "advice": advice,
    }


def engines() -> list[dict[str, Any]]:
    """Each engine, whether it is ready, and what to do where it is not."""
    compiler = next((found for name in ("c++", "g++", "clang++", "cl") if (found := shutil.which(name))), None)
    rows = [
        {"engine": "eager", "ready": True, "note": "PyTorch as it is"},
        {
            "engine": "compile",
            "ready": compiler is not None,
            "note": f"torch.compile with {compiler}" if compiler else "torch.compile needs a C++ compiler",
            **({} if compiler else {"get": compiler_hint()}),
        },
    ]
    for package, (what, get) in ENGINES.items():
        ready = importlib.util.find_spec(package) is not None
        note = f"{what} {version(package)}" if ready else f"{what} is not installed"
        rows.append({"engine": package, "ready": ready, "note": note, **({} if ready else {"get": get})})
    return rows


def fastest_engines() -> dict[str, Any]:
    """What `--engine auto` measured on this machine, by network, input, batch size and versions."""
    from dataclasses import asdict

    from convatlas.inference.engines import remembered

    return {key: asdict(choice) for key, choice in remembered().items()}


def compiler_hint() -> str:
    hints = {"linux": "apt install g++", "darwin": "xcode-select --install"}
    return hints.get(sys.platform, "install a C++ compiler, such as the Build Tools for Visual Studio")


def show(found: dict[str, Any]) -> None:
    """The same as text."""
    rows: list[tuple[str, str]] = []
    machine, precision = found["machine"], found["precision"]
    rows.append(("versions", ", ".join(f"{name} {value or 'missing'}" for name, value in found["versions"].items())))
    rows.append(("system", machine["system"]))
    threads = "thread" if machine["torch_threads"] == 1 else "threads"
    rows.append(("processor", f"{machine['processor']}: {machine['usable_cores']} of {machine['cores']} cores usable, "
                  f"torch uses {machine['torch_threads']} {threads}"))  # fmt: skip
    rows.append(("memory", f"{machine['memory_gib']} GiB, {machine['available_memory_gib']} GiB available"))
    rows.append(("free disk", f"{machine['free_disk_gib']} GiB here"))
    for gpu in found["gpus"]:
        rows.append(("GPU", f"{gpu['device']}: {gpu['name']}, {gpu['memory_gib']} GiB (CUDA {found['cuda']})"))
    if not found["gpus"]:
        rows.append(("GPU", "Apple GPU (MPS)" if found["mps"] else "none; everything runs on the CPU"))
    ratio = precision["cpu_bfloat16_over_float32"]
    compared = f"{ratio:.1f} times as slow as" if ratio >= 1 else f"{1 / ratio:.1f} times as fast as"
    rows.append(("precision", f"CPU: {precision['advice']['cpu']} (bfloat16 is {compared} float32 here)"))
    if "cuda" in precision["advice"]:
        rows.append(("", f"GPU: {precision['advice']['cuda']}"))
    for row in found["engines"]:
        get = f"; get it: {row['get']}" if "get" in row else ""
        rows.append((f"engine {row['engine']}", f"{'ready' if row['ready'] else 'missing'}: {row['note']}{get}"))
    for key, choice in found["fastest_engines"].items():
        times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in choice["ms"].items())
        rows.append(("fastest engine", f"{choice['engine']} for {key.split(', torch')[0]}: {times}"))
    print_table(console(), (Column("what", style="bold"), Column("here", wrap=30)), rows)
