"""Kills, races, mutated and hostile files: runs come back bit for bit, and no file crashes, hangs or takes the memory.

    python benchmarks/hostile kills [--kills 40]         SIGKILL at random moments of five kinds of runs
    python benchmarks/hostile races [--races 300]        several processes with one new run folder
    python benchmarks/hostile mutated [--count 10000]    files of every kind with flipped, cut and doubled pieces
    python benchmarks/hostile made                       inputs made by hand, each in a process of its own

`--seed` chooses other moments and other mutations. A part's record goes to benchmarks/results/hostile_<part>.json, with
whatever failed in full; the exit code is 1 if anything did. Everything runs below a temporary folder; processes have
one thread, and those that read files are ended above a gigabyte of resident memory.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests")]

import made  # noqa: E402
import mutated  # noqa: E402
import runs  # noqa: E402

from convatlas.training.run import environment  # noqa: E402

PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "kills": lambda given, folder: runs.measure_kills(given.kills, given.seed, folder),
    "races": lambda given, folder: runs.measure_races(given.races, folder),
    "mutated": lambda given, folder: mutated.measure(given.count, given.seed, folder),
    "made": lambda given, folder: made.measure(folder, given.only, given.jobs),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--races", type=int, default=300)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", default="", help="of the inputs made by hand those whose name has this text; no record"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes that try inputs made by hand")
    given = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hostile") as folder:
        found = PARTS[given.part](given, Path(folder))
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": given.seed,
        **found,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "environment": environment("cpu"),
    }
    if not given.only:
        out = HERE.parent / "results" / f"hostile_{given.part}.json"
        out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        print(out)
    print(json.dumps({key: value for key, value in found.items() if key != "cases"}, indent=2, ensure_ascii=False))
    return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
