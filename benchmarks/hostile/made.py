"""Inputs made by hand, each read by a process of its own with bounded memory and time."""

import csv
import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import inputs
import texts
import watched

from convatlas import cli

SECONDS = 60  # for all commands of one input, of the processor; a loaded machine gets as many times more
MAX_SENTENCE = 3000
_FOUL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
IMPORTED = (
    "data.sources", "data.check", "data.contact", "data.marked", "data.detection.check", "data.dense.check",
    "data.pose.check", "weights", "inference.opening", "inference.predict", "training", "report",
)  # fmt: skip
_WRITES = ("run", "out")  # what the commands are told to write


def measure(folder: Path, only: str, jobs: int) -> dict[str, Any]:
    """Every command must end with 0, 1 or 2 and in sentences, and write nothing but what it was told to."""
    os.environ |= {"HOME": str(folder / "home"), "CONVATLAS_CACHE": str(folder / "cache"), "COLUMNS": "200"}
    (folder / "home").mkdir()
    run = trained(folder)
    warm_up()
    cases = [case for make in (*inputs.EVERY, *texts.every(run)) for case in make() if only in case.name]
    workers = []
    for job in range(jobs):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                results = {case.name: tried(case, run, folder / f"{job}") for case in cases[job::jobs]}
                (folder / f"{job}.json").write_text(json.dumps(results))
                code = 0
            finally:
                os._exit(code)
        workers.append(pid)
    if any(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers):
        raise RuntimeError("a worker ended with an error")
    parts = [json.loads((folder / f"{job}.json").read_text()) for job in range(jobs)]
    rows: dict[str, dict[str, Any]] = {case.name: row for case in cases for row in [parts_of(parts, case.name)]}
    failures = [f"{name}: {complaint}" for name, row in rows.items() for complaint in row.pop("complaints")]
    return {
        "what": "inputs made by hand, each in a process of its own: exit codes of 0, 1 or 2, sentences, bounded memory",
        "inputs": len(rows),
        "commands": sum(len(row["codes"]) for row in rows.values()),
        "highest_peak_mib": max((row["peak_mib"] for row in rows.values()), default=0),
        "failures": failures,
        "cases": rows,
    }


def parts_of(parts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(part[name] for part in parts if name in part)


def tried(case: inputs.Case, run: Path, work: Path) -> dict[str, Any]:
    """Exit codes, the most memory and complaints of one input, which is written by a process of its own too."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    written = watched.fork(partial(write, case, work), work, 600 * slowness(), memory_bytes=1 << 33)
    if written.code != 0:
        print("NOT TRIED", case.name, written.out[-300:], flush=True)
        return {"codes": [], "peak_mib": 0, "complaints": [f"not tried: {written.out[-300:]}"]}
    before = listing(work)
    ended = watched.fork(partial(call, case.commands, run), work, SECONDS * slowness())
    codes = re.findall(r"^EXIT (-?\d+)$", ended.out, re.MULTILINE)
    wrong = list(complaints(ended, codes, len(case.commands), before, work))
    verdict = f"{'FAILED' if wrong else 'held':6} {ended.peak_mib:5} MiB {ended.seconds:5.1f} s  {case.name}"
    print("\n    ".join([verdict, *wrong]), flush=True)
    return {"codes": [int(code) for code in codes], "peak_mib": ended.peak_mib, "complaints": wrong}


def slowness() -> float:
    """How much longer than alone a process waits here, by the machine's load."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def write(case: inputs.Case, work: Path) -> int:
    case.write(work)
    return 0


def call(commands: list[inputs.Command], run: Path) -> int:
    for words in commands:
        arguments = [str(run) if word == "RUN" else word for word in words]
        code = read(arguments[1:]) if arguments[0] == "READ" else cli.main(arguments)
        print(f"\nEXIT {code}", flush=True)
    return 0


def read(words: list[str]) -> int:
    """What `train` reads of masks, boxes and people."""
    from convatlas import data
    from convatlas.errors import ConvatlasError

    spec, task, *more = words
    try:
        loaded = data.load(spec, task=task, masks="masks" in more)
    except ConvatlasError as error:
        print(f"convatlas: error: {error}")
        return 1
    for split in (loaded.train, loaded.test):
        for index in range(len(split)):
            try:
                take = split.read if task == "detection" else split.read_pair  # pyright: ignore[reportAttributeAccessIssue]
                take(index)
            except ConvatlasError as error:
                print(error)
    return 0


def complaints(ended: watched.Ended, codes: list[str], commands: int, before: set[str], work: Path) -> Iterator[str]:
    if ended.reason:
        yield f"{ended.reason}: {ended.out[-300:]!r}"
    elif ended.code != 0 or len(codes) != commands:
        yield f"ended with {ended.code} after {len(codes)} of {commands} commands: {ended.out[-600:]!r}"
    if strange := [code for code in codes if code not in ("0", "1", "2")]:
        yield f"exit codes {strange}"
    for word in ("unexpected", "Traceback", "int_max_str_digits"):
        if word in ended.out:
            yield f"said {word!r}: {ended.out[max(0, ended.out.index(word) - 200) :][:500]!r}"
    if foul := _FOUL.search(ended.out):
        yield f"wrote {foul[0]!r} to the terminal: {ended.out[max(0, foul.start() - 60) :][:160]!r}"
    sentences = [line for line in ended.out.splitlines() if line.startswith("convatlas: ")]
    longest = max(sentences, key=len, default="")
    if len(longest) > MAX_SENTENCE:
        yield f"a sentence of {len(longest):,} characters: {longest[:200]!r}"
    if strays := [name for name in listing(work) - before if not name.startswith(_WRITES)]:
        yield f"wrote {strays[:5]}"
    yield from in_pages(work)


def in_pages(work: Path) -> Iterator[str]:
    """Text of files that has become markup of a page, or a formula of a spreadsheet."""
    for page in work.rglob("*.html"):
        text = page.read_text()
        for foul in ("<script>alert", "\x1b", "<img src=x"):
            if foul in text:
                yield f"{foul!r} in {page.name}"
        if not text.rstrip().endswith("</html>"):
            yield f"{page.name} has no end"
    for file in work.rglob("out*.csv"):
        with file.open(newline="") as lines:
            if cells := [cell for row in csv.reader(lines) for cell in row if cell.startswith(("=", "@"))]:
                yield f"{cells[0]!r} in {file.name}"


def listing(work: Path) -> set[str]:
    return {os.path.relpath(os.path.join(parent, name), work) for parent, _, names in os.walk(work) for name in names}


def trained(folder: Path) -> Path:
    """A run of one epoch, made in a process of its own: one that trained has threads, and must not be copied."""
    train = ["train", "caffe_lenet", "--data", "digits", "--epochs", "1", "--out", str(folder / "run"), "--no-report"]
    work = folder / "training"
    work.mkdir()
    ended = watched.fork(lambda: cli.main(train), work, 600 * slowness())
    assert ended.code == 0, ended.out
    return folder / "run"


def warm_up() -> None:
    """Imports what reading imports, so that copies of this process need not."""
    import importlib

    for name in ("torchvision.ops", "matplotlib.figure", "scipy.ndimage"):
        importlib.import_module(name)
    for name in IMPORTED:
        importlib.import_module(f"convatlas.{name}")
