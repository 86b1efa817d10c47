"""A user who owns nothing but the folder at hand, and the start methods that copy no memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import convatlas
from convatlas.caches import cache_folder, can_be_written, settle_matplotlib

SOURCES = str(Path(convatlas.__file__).parents[1])
NOBODY = 65534

AS_NOBODY = """
import convatlas, sys
run = convatlas.train("caffe_lenet", data="digits", epochs=1, out="run", progress=False)
convatlas.load("run").predict(sys.argv[1], progress=False)
convatlas.compare("caffe_lenet", batches=[1], seconds=0.1, progress=False)
from convatlas.inference.engines import choice
choice.remember("key", choice.Choice("fused", {}, {}, "today"))
assert "key" in choice.remembered()
print("done")
"""

WITH_WORKERS = """
import multiprocessing, sys
import convatlas

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    from convatlas.data import store
    store.fits = lambda *_, **__: False  # so that nothing is kept in memory, and workers decode
    run = convatlas.train(
        "cifar_resnet20", data=sys.argv[2], recipe="modern", epochs=1, out=sys.argv[3], workers=2, progress=False,
        batch_size=4, write_report=False,
    )
    print(len(run.evaluation.labels))
"""


def images(folder: Path, side: int) -> Path:
    """Two classes in train and test, as JPEGs."""
    random = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for label in ("dark", "light"):
            place = folder / part / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 100, (side, side, 3)) + (100 if label == "light" else 0)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.jpg")
    return folder


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can become another user, by setpriv",
)
def test_a_user_with_a_read_only_home(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    home.mkdir(mode=0o555)
    place.mkdir()
    image = place / "image.png"
    Image.new("L", (28, 28), 200).save(image)
    for folder in (place, *place.parents):  # which pytest keeps to its own user
        if folder != Path("/") and folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    os.chown(place, NOBODY, NOBODY)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become += [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]  # the interpreter may lie with root
    command = [*become, sys.executable, "-B", "-W", "error", "-c", AS_NOBODY, str(image)]
    try:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
    finally:
        shutil.rmtree(f"/tmp/convatlas-{NOBODY}", ignore_errors=True)
    if "setpriv:" in done.stderr:
        pytest.skip(f"no other user can be had here: {done.stderr.strip()}")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "done", "")
    assert list(home.iterdir()) == []


def test_where_caches_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("CONVATLAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "usual"))
    assert cache_folder() == tmp_path / "usual" / "convatlas"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder().name.startswith("convatlas-")
    assert can_be_written(tmp_path / "a" / "b")
    assert not can_be_written(tmp_path / "file" / "b")


def test_matplotlib_gets_a_folder_only_where_it_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    settle_matplotlib()
    assert "MPLCONFIGDIR" not in os.environ
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    settle_matplotlib()
    assert Path(os.environ.pop("MPLCONFIGDIR")).is_dir()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_other_start_methods(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = images(tmp_path / "data", 40)
    script = tmp_path / "script.py"
    script.write_text(WITH_WORKERS)
    environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(script), method, str(folder), str(tmp_path / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "4", "")
