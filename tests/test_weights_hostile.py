"""Damaged and hostile files of every format: a result or an error that says so, within a gigabyte and some seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FORMATS = (
    "caffe", "caffe_v1", "mat", "mat_dag", "darknet", "torch7", "keras", "keras_gzip", "keras_zip",
    "deep_compression", "huffman", "safetensors", "pickle", "pickle_old",
)  # fmt: skip
SCRIPT = Path(__file__).with_name("mutate.py")


def mutated(count: int, *formats: str) -> dict[str, tuple[int, int, list[str]]]:
    """In a process of its own: an address space has one limit, and a crash would end the tests."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(count), *formats],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, f"the reader died with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def some() -> dict[str, tuple[int, int, list[str]]]:
    return mutated(40)


@pytest.mark.parametrize("name", FORMATS)
def test_some_mutated_files(some: dict[str, tuple[int, int, list[str]]], name: str) -> None:
    read, refused, others = some[name]
    assert others == []
    assert read + refused == 40
    assert refused > 0, "no file was damaged, so the test proved nothing"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_two_thousand_mutated_files(name: str) -> None:
    read, refused, others = mutated(2000, name)[name]
    assert others == []
    assert read + refused == 2000
    assert refused > 0
