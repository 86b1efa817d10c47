"""Mutated annotations, masks and images: a data set or an error that says what is wrong, within a gigabyte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("mutate_marked.py")
FORMATS = (
    "voc", "voc_lists", "coco", "yolo", "yolo_yaml", "table", "labelme", "images", "masks", "bare_masks", "mask_table",
    "people", "mpii", "matlab", "plain_matlab",
)  # fmt: skip
FEW = {"matlab": 5, "plain_matlab": 5}  # each is read by a process of its own
COUNT = 30


def mutated(count: int, *formats: str) -> dict[str, tuple[int, int, list[str]]]:
    """In a process of its own: an address space has one limit, and a crash would end the tests."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(SCRIPT), str(count), *formats]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"the reader died with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def test_some_mutated_files() -> None:
    usual = [name for name in FORMATS if name not in FEW]
    found = mutated(COUNT, *usual) | mutated(min(FEW.values()), *FEW)
    assert {name: others for name, (_, _, others) in found.items() if others} == {}
    assert {name for name, (read, refused, _) in found.items() if read + refused != FEW.get(name, COUNT)} == set()
    assert sum(refused for _, refused, _ in found.values()) > len(FORMATS), "too little was damaged to prove anything"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_mutated_files(name: str) -> None:
    count = FEW.get(name, 30) * 20
    read, refused, others = mutated(count, name)[name]
    assert others == []
    assert read + refused == count
