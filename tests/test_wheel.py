"""The wheel in an environment of its own, as someone gets it who has no checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build")
pytest.importorskip("hatchling")
pexpect = pytest.importorskip("pexpect")

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist: the one that CONVATLAS_DIST names, or one that is made here."""
    if named := os.environ.get("CONVATLAS_DIST"):
        return ROOT / named
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def fresh(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new environment with the wheel; what it depends on comes from this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_and_sdist_hold_everything(dist: Path) -> None:
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        held = set(opened.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "src/convatlas"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    wanted = {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    assert wanted <= held, sorted(wanted - held)[:5]
    assert {"convatlas/py.typed", "convatlas/report/templates/base.html", "convatlas/facts/citations.toml"} <= held
    assert not [name for name in held if name.startswith(("tests", "notebooks")) or "__pycache__" in name]
    with tarfile.open(source) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "tests/conftest.py"} <= held
    assert not [name for name in held if name.startswith((".venv", "runs", ".git/"))]


def test_the_command_in_a_terminal(fresh: Path, tmp_path: Path) -> None:
    command = fresh.with_name("convatlas")
    place = run(fresh, "-c", "import convatlas; print(convatlas.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(fresh.parents[1])
    assert "torch" in run(command, "doctor", cwd=tmp_path)
    assert "2 disputed" in run(command, "verify", "lenet5", cwd=tmp_path)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"TERM": "xterm-256color"}
    child = pexpect.spawn(
        str(command), ["train", "lenet5", "--data", "digits", "--epochs", "1", "--out", "run"],
        cwd=str(tmp_path), env=environment, dimensions=(24, 80), timeout=240, encoding="utf-8",
    )  # fmt: skip
    said = child.read()
    child.close()
    assert child.exitstatus == 0, said
    assert "unexpected" not in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "report.html").is_file()
    export = run(command, "export", "run", "--out", "net.onnx", cwd=tmp_path)
    assert "net.onnx" in export
    assert (tmp_path / "net_predict.py").is_file()
