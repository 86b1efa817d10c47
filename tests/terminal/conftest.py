"""Commands under a pseudo-terminal, and small data and runs of every task for them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pseudo import Terminal

from masks import write_parts
from people import write_coco


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images in classes, masks, boxes and people, each just enough to train on."""
    folder = tmp_path_factory.mktemp("terminal")
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name, value in (("dark", 40), ("light", 200)):
            (folder / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                noise = random.integers(-30, 30, (32, 32, 3)) + value
                Image.fromarray(noise.astype(np.uint8)).save(folder / "photos" / part / name / f"{number}.png")
    write_parts(folder / "masks", 4, 2)
    write_coco(folder / "people", "train", 2)
    write_coco(folder / "people", "val", 2, seed=1)
    write_boxes(folder / "boxes")
    return folder


def write_boxes(folder: Path) -> None:
    """Images with one bright crate each, as a .csv of boxes."""
    folder.mkdir()
    random = np.random.default_rng(1)
    rows = ["path,class,x1,y1,x2,y2,split"]
    for number in range(6):
        image = random.integers(0, 60, (96, 96, 3)).astype(np.uint8)
        top, left = random.integers(4, 40, 2)
        image[top : top + 40, left : left + 40] = 220
        Image.fromarray(image).save(folder / f"{number}.png")
        split = "train" if number < 4 else "test"
        rows.append(f"{number}.png,crate,{left},{top},{left + 40},{top + 40},{split}")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def terminal(workspace: Path) -> Iterator[Terminal]:
    """`terminal("list", "vgg")` runs `convatlas list vgg` at 80 columns, in the workspace."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:  # fmt: skip
        yield Terminal(process, workspace)


@pytest.fixture(scope="session")
def trained(terminal: Terminal, workspace: Path) -> Path:
    """A run of a classifier that a command in the terminal made."""
    shown = terminal(
        "train", "caffe_lenet", "--data", "digits", "--epochs", "2", "--out", "runs/digits", "--workers", "0"
    )
    assert shown.code == 0, shown.text
    return workspace / "runs" / "digits"
