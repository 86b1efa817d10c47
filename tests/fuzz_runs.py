"""Run by test_fuzz_runs.py in a process of its own: damages a run's files, calls commands on it, and tells what came.

python tests/fuzz_runs.py RUN ONNX IMAGE COUNT FIRST KIND ... -> one JSON object:
kind -> [read, refused, list of what else happened]

A command must end with 0, 1 or 2 and one sentence, never with "unexpected", in some seconds and a bounded memory.
"""

import contextlib
import copy
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from convatlas import cli
from mutate import patience

GIGABYTES = 6  # of address space beyond what importing took
SECONDS = 30  # for one command
STRANGE: tuple[Any, ...] = (
    None, True, False, "<script>alert(1)</script>",
    0, -1, 1, 10**18, -(10**18), 2**63, 1e308, -1e308, 1e-320, float("nan"), float("inf"), "", "x",
    "\0", "\x1b[31m", "[/red]", "../../../etc/passwd", "a" * 100_000, "\u202e", "漢字", "$\\frac{", "=cmd", [], [[]],
    [1, 2, 3], ["a"], {}, {"a": 1}, {"kind": "SGD"}, [None], 10**400, "1e5", [10**18, 10**18],
)  # fmt: skip
TEXTS: tuple[Callable[[str], str], ...] = (
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text + "\0",
    lambda text: text.replace("1", "9" * 5000, 1),
    lambda text: "[" * 100_000 + text,
    lambda text: '{"a":' * 100_000,
    lambda text: "a = " + "[" * 100_000,
    lambda text: "a = " + "{a=" * 100_000,
    lambda text: ".".join("a" * 100_000) + " = 1",
    lambda text: text.replace('"', '"\\ud800', 1),
    lambda text: text[: len(text) // 2],
    lambda text: "",
    lambda text: "null",
    lambda text: "[]",
    lambda text: "7",
    lambda text: text * 3,
)


def replace_one(value: Any, rng: random.Random) -> Any:
    """The same with one entry at any depth replaced, removed, doubled or renamed."""
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        for key in keys[:200]:
            places.append((node, key))
            stack.append(node[key])
    if not places:
        return copy.deepcopy(rng.choice(STRANGE))
    node, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[rng.choice(("x", "", "kind", "\0", "a" * 1000))] = node.pop(key)
    elif kind == 2 and isinstance(node, list):
        node.extend([copy.deepcopy(node[key])] * rng.choice((1, 1000)))
    else:
        node[key] = copy.deepcopy(rng.choice(STRANGE))
    return value


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 5))):
        start, size = rng.randrange(min(len(out), rng.choice((64, 4096, len(out))))), rng.randrange(1, 64)
        kind = rng.randrange(5)
        if kind == 0:
            out[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[start:]
        elif kind == 2:
            out[start : start + 8] = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)).to_bytes(
                8, "little"
            )
        elif kind == 3:
            out[start:start] = out[start : start + size]
        else:
            del out[start : start + size]
        out = out or bytearray(1)
    return bytes(out)


def damage_text(text: str, rng: random.Random, load: Callable[[str], Any], dump: Callable[[Any], str]) -> bytes:
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(TEXTS)(text).encode("utf-8", "surrogatepass")
    if kind == 1:
        return damage_bytes(text.encode(), rng)
    value = load(text)
    for _ in range(rng.choice((1, 1, 1, 3))):
        value = replace_one(value, rng)
    return dump(value).encode("utf-8", "surrogatepass")


def without_none(value: Any) -> Any:
    """TOML has no null and no numbers of over 64 bits."""
    if isinstance(value, dict):
        return {str(key): without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value if item is not None]
    return value


def toml(value: Any) -> str:
    return tomli_w.dumps(without_none(value if isinstance(value, dict) else {"x": value}))


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def dump_lines(rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in (rows if isinstance(rows, list) else [rows]))


def damage_metadata(data: bytes, rng: random.Random) -> bytes:
    """The card of a .safetensors file, or the state of a checkpoint, with tensors as they were."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header["__metadata__"]
    key = "convatlas" if "convatlas" in metadata else rng.choice(list(metadata))
    try:
        metadata[key] = damage_text(metadata[key], rng, json.loads, json.dumps).decode("utf-8", "replace")
    except ValueError:
        metadata[key] = str(rng.choice(STRANGE[:-3]))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def damage_onnx(data: bytes, rng: random.Random) -> bytes:
    """The card inside an exported file, or any byte of it."""
    if rng.random() < 0.3:
        return damage_bytes(data, rng)
    import onnx

    model = onnx.load_model_from_string(data)
    entry = next(entry for entry in model.metadata_props if entry.key == "convatlas")
    entry.value = damage_text(entry.value, rng, json.loads, json.dumps).decode("utf-8", "replace").replace("\0", "0")
    return model.SerializeToString()


def damage(path: Path, kind: str, rng: random.Random) -> None:
    kind = kind.removeprefix(REPORT)
    data = path.read_bytes()
    if kind == "recipe":
        path.write_bytes(damage_text(data.decode(), rng, tomllib.loads, toml))
    elif kind == "metrics":
        path.write_bytes(damage_text(data.decode(), rng, json_lines, dump_lines))
    elif kind == "onnx":
        path.write_bytes(damage_onnx(data, rng))
    elif kind in ("weights", "state"):
        path.write_bytes(damage_metadata(data, rng) if rng.random() < 0.6 else damage_bytes(data, rng))
    else:
        path.write_bytes(damage_text(data.decode(), rng, json.loads, json.dumps))


REPORT = "report "  # before a file's kind: the report is written of the damaged run
FILES = {
    "recipe": "recipe.toml", "environment": "environment.json", "metrics": "metrics.jsonl", "summary": "summary.json",
    "classes": "classes.json", "splits": "splits.json", "weights": "checkpoints/last/weights.safetensors",
}  # fmt: skip


class Slow(BaseException):
    """The alarm's."""


def call(arguments: list[str]) -> tuple[int, str]:
    """(exit code, what it said) of a command; -1 where it was still at work after half a minute."""
    out = io.StringIO()
    signal.alarm(patience(SECONDS))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = cli.main(arguments)
    except Slow:
        return -1, out.getvalue()
    finally:
        signal.alarm(0)
    return code, out.getvalue()


def page_of(run: Path) -> str:
    """A complaint about the written report, if there is one: text of files has become markup, or the page is torn."""
    page = run / "report.html"
    text = page.read_text() if page.exists() else ""
    foul = [mark for mark in ("<script>alert", "\x1b", "Traceback") if mark in text]
    whole = not text or text.rstrip().endswith("</html>")
    return "" if whole and not foul else f"unexpected in the page: {foul or 'no end'}"


def commands(kind: str, run: Path, onnx: Path, image: Path, out: Path) -> list[list[str]]:
    predict, evaluate = ["predict", str(run), str(image)], ["eval", str(run)]
    if kind == "onnx":
        return [["predict", str(onnx), str(image)]]
    if kind == "state":
        return [["train", "--resume", str(run)]]
    if kind.startswith(REPORT):
        return [["report", str(run)]]
    listed = [["runs", str(run.parent)], ["runs", str(run.parent), "--differences", "--json"]]
    again = ["train", "--recipe", str(run / "recipe.toml"), "--out", str(out)]
    chosen = {
        "recipe": [*listed, predict, evaluate, again],
        "metrics": listed,
        "environment": listed,
        "summary": listed,
    }
    return chosen.get(kind, [predict, evaluate])


def main(run: Path, onnx: Path, image: Path, count: int, first: int, kinds: list[str]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for kind in kinds:
            read, refused, others = 0, 0, []
            for seed in range(first, first + count):
                rng = random.Random(f"{kind} {seed}")
                damaged, exported = work / "runs" / "copy", work / "x.onnx"
                shutil.rmtree(damaged, ignore_errors=True)
                shutil.copytree(run, damaged)
                if kind == "onnx":
                    shutil.copy(onnx, exported)
                state = next(iter(sorted((damaged / "checkpoints" / "state").glob("step-*"))), damaged / "recipe.toml")
                damage(
                    exported
                    if kind == "onnx"
                    else state
                    if kind == "state"
                    else damaged / FILES[kind.removeprefix(REPORT)],
                    kind,
                    rng,
                )
                for arguments in commands(kind, damaged, exported, image, work / "out"):
                    shutil.rmtree(work / "out", ignore_errors=True)
                    code, text = call(arguments)
                    read, refused = read + (code == 0), refused + (code in (1, 2))
                    training = code == -1 and arguments[0] == "train"  # what the recipe asks for takes so long
                    text += page_of(damaged) if kind.startswith(REPORT) else ""
                    sentences = [line for line in text.splitlines() if line.startswith("convatlas: ")]
                    long = max(map(len, sentences), default=0) > 3000
                    if "unexpected" in text or "Traceback" in text or "\x1b[31m" in text or long or (
                        code not in (0, 1, 2) and not training
                    ):  # fmt: skip
                        others.append(f"seed {seed}, {' '.join(arguments[:2])}, code {code}: {text[-400:]}")
            results[kind] = [read, refused, others]
    return results


def slow(*_: object) -> None:
    raise Slow


if __name__ == "__main__":
    run_, onnx_, image_, count_, first_, *kinds_ = sys.argv[1:]
    os.environ["CONVATLAS_DEBUG"] = ""
    signal.signal(signal.SIGALRM, slow)
    call(["predict", run_, image_])  # imports what reading imports
    call(["eval", run_])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (GIGABYTES << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found = main(Path(run_), Path(onnx_), Path(image_), int(count_), int(first_), kinds_)
    print(re.sub(r"[\ud800-\udfff]", "?", json.dumps(found)))
