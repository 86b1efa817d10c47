"""Files of every kind with pieces flipped, cut, doubled and overwritten, read in one process a group."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import watched

Found = tuple[int, int, list[str]]  # read, refused, what else came
SECONDS_OF_A_GROUP = 7200
SHARES = {"weights": 0.42, "marked": 0.30, "images": 0.18, "sources": 0.08, "runs": 0.02}  # by what one input takes
_RUNS = (
    "recipe",
    "environment",
    "metrics",
    "summary",
    "classes",
    "splits",
    "weights",
    "onnx",
    "state",
    "report metrics",
)


def measure(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Each group in a process of its own, in an empty folder that must stay so."""
    groups: dict[str, Any] = {}
    failures: list[str] = []
    here = Path(__file__).resolve()
    paths = [str(here.parent), str(here.parents[2] / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    for group, share in SHARES.items():
        work, home = folder / group, folder / f"{group} home"
        work.mkdir()
        home.mkdir()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "HOME": str(home), "TMPDIR": str(folder),
            "CONVATLAS_CACHE": str(home / "cache"),
        }  # fmt: skip
        command = [sys.executable, str(here), group, str(max(1, round(share * count))), str(seed)]
        ended = watched.run(command, work, environment, SECONDS_OF_A_GROUP)
        if ended.code != 0:
            failures.append(f"{group}: {ended.reason or f'ended with {ended.code}'}: {ended.out[-1500:]}")
            continue
        kinds: dict[str, Found] = json.loads(ended.out.splitlines()[-1])
        stray = [str(file) for file in work.rglob("*")]
        failures += [f"{group} {kind}, {other}" for kind, (_, _, others) in kinds.items() for other in others]
        failures += [f"{group}: wrote {file}" for file in stray]
        groups[group] = {
            "inputs": sum(read + refused + len(others) for read, refused, others in kinds.values()),
            "read": sum(read for read, _, _ in kinds.values()),
            "refused": sum(refused for _, refused, _ in kinds.values()),
            "peak_mib": ended.peak_mib,
            "seconds": round(ended.seconds),
            "kinds": {kind: {"read": read, "refused": refused} for kind, (read, refused, _) in kinds.items()},
        }
        print(f"{group}: {groups[group]['inputs']:,} inputs, {ended.peak_mib} MiB, {ended.seconds:.0f} s", flush=True)
    return {
        "what": "mutated files: read, or refused in a sentence; no crash, hang, other exception or file elsewhere, "
        "within 1 GB of resident memory",
        "inputs": sum(group["inputs"] for group in groups.values()),
        "groups": groups,
        "failures": failures,
    }


# ---------- in a process of its own


def weights(count: int, first: int, folder: Path) -> dict[str, Found]:
    import mutate

    known = mutate.seeds()
    return {name: mutate.run(*known[name], count // len(known), folder, first) for name in known}


def marked(count: int, first: int, folder: Path) -> dict[str, Found]:
    import mutate_marked

    slow = ("matlab", "plain_matlab")  # each is read by a process of its own
    each = max(1, count // (len(mutate_marked.KINDS) - len(slow)))
    return {
        name: mutate_marked.run(kind, max(1, each // 20) if name in slow else each, folder / "set", first)
        for name, kind in mutate_marked.KINDS.items()
    }


def images(count: int, first: int, _: Path) -> dict[str, Found]:
    from convatlas.data import decode
    from mutate import mutate
    from reading import encoded, image

    kinds = ("png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm", "avif", "jpeg2000")
    found = {}
    for kind in kinds:
        whole = encoded(image(1, 30, 40), kind)
        found[kind] = tried(count // len(kinds), first, lambda seed, whole=whole: decode(mutate(whole, seed)))
    return found


def sources(count: int, first: int, folder: Path) -> dict[str, Found]:
    from mutate import mutate
    from reading import encoded, image, look
    from test_reading_property import WRITERS

    for i in range(6):
        (folder / f"{i}.png").write_bytes(encoded(image(i)))
    found = {}
    for name, write in WRITERS.items():
        file = folder / name
        write(file)
        whole = file.read_bytes()

        def read(seed: int, file: Path = file, whole: bytes = whole) -> None:
            file.write_bytes(mutate(whole, seed))
            look(file)

        found[name] = tried(count // len(WRITERS), first, read)
    return found


def runs(count: int, first: int, folder: Path) -> dict[str, Found]:
    import numpy as np
    from PIL import Image

    import fuzz_runs

    run, onnx, picture = folder / "run", folder / "x.onnx", folder / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(picture)
    for command in (
        ["train", "caffe_lenet", "--data", "digits", "--epochs", "1", "--out", str(run), "--no-report"],
        ["export", str(run), "--format", "onnx", "--out", str(onnx)],
    ):
        code, said = fuzz_runs.call(command)
        assert code == 0, said
    return fuzz_runs.main(run, onnx, picture, max(1, count // len(_RUNS)), first, list(_RUNS))


def tried(count: int, first: int, act: Callable[[int], object]) -> Found:
    from mutate import attempt

    read, refused, others = 0, 0, []
    for seed in range(first, first + count):
        result = attempt(lambda seed=seed: act(seed))
        read, refused = read + (result == "read"), refused + (result == "refused")
        if result not in ("read", "refused"):
            others.append(f"seed {seed}: {result}")
    return read, refused, others


GROUPS: dict[str, Callable[[int, int, Path], dict[str, Found]]] = {
    "weights": weights, "marked": marked, "images": images, "sources": sources, "runs": runs,
}  # fmt: skip


def main(group: str, count: int, first: int) -> None:
    import signal
    import warnings

    import fuzz_runs
    import mutate

    warnings.simplefilter("ignore")
    os.environ["CONVATLAS_DEBUG"] = ""
    signal.signal(signal.SIGALRM, fuzz_runs.slow if group == "runs" else mutate.hang)
    with tempfile.TemporaryDirectory() as name:
        print("\n" + json.dumps(GROUPS[group](count, first, Path(name))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
