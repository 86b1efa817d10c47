"""Workers under every start method, and a home in which nothing can be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

TRAIN = """
import multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    from convatlas.data import store
    store.fits = lambda *args, **kwargs: False  # so that workers are needed
    from convatlas.cli import main
    sys.exit(main(["train", "caffe_lenet", "--data", sys.argv[2], "--out", sys.argv[3], "--epochs", "1",
                   "--no-report", "--device", "cpu", "--workers", "2"]))
"""


@pytest.fixture(scope="module")
def pets(tmp_path_factory) -> Path:
    folder, draw = tmp_path_factory.mktemp("start"), torch.Generator().manual_seed(0)
    for name, low in (("cats", 0), ("dogs", 120)):
        (folder / "pets" / name).mkdir(parents=True)
        for i in range(10):
            image = torch.randint(low, low + 100, (28, 28), generator=draw, dtype=torch.uint8)
            Image.fromarray(image.numpy()).save(folder / "pets" / name / f"{i}.png")
    return folder / "pets"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_start_method_give_the_same_run(method, pets, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    ended = subprocess.run(
        [sys.executable, str(script), method, str(pets), str(tmp_path / "run")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr


@pytest.mark.slow
def test_a_home_in_which_nothing_can_be_written(pets, tmp_path):
    """Not even root can make a folder below /dev/null, as others can't in a home that is read-only."""
    command = [sys.executable, "-m", "convatlas", "train", "caffe_lenet", "--data", str(pets), "--epochs", "1"]
    environment = {name: value for name, value in os.environ.items() if name not in ("CONVATLAS_CACHE", "MPLCONFIGDIR")}
    ended = subprocess.run(
        [*command, "--device", "cpu", "--out", str(tmp_path / "run")],
        check=False,
        capture_output=True,
        text=True,
        env={**environment, "HOME": os.devnull},
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    assert (tmp_path / "run" / "report.html").exists()
