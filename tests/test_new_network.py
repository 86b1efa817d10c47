"""Adding a network: the steps of CONTRIBUTING.md, in a copy of the package, with the text that stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import convatlas
from convatlas.analysis.layer_table import fold, layer_table
from convatlas.analysis.trace import trace_network
from convatlas.cli import main
from convatlas.cli.new_network import DEFAULTS
from convatlas.records import Task

ROOT = Path(convatlas.__file__).parents[2]
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of its own."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def succeed(root: Path, *arguments: str) -> str:
    """What a command prints that must end well."""
    result = run(root, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def blocks(root: Path, kind: str) -> list[str]:
    text = (root / "CONTRIBUTING.md").read_text("utf-8")
    return [match["text"] for match in BLOCK.finditer(text) if match["kind"] == kind]


@pytest.mark.slow
def test_the_steps_lead_to_a_proved_network(copy: Path) -> None:
    create, write_table = (line.split()[1:] for line in blocks(copy, "sh"))
    claims, arrow = blocks(copy, "toml")
    network, test = blocks(copy, "python")

    paths = succeed(copy, "convatlas", *create).splitlines()[:4]
    assert all((copy / path).is_file() for path in paths)
    ledger = copy / "src/convatlas/facts/papers/hu2018_senet.toml"
    assert "1 without a verified layer table" in succeed(copy, "convatlas", "verify", "se_resnet50")
    succeed(copy, "pytest", "-q", "tests/test_se_resnet50.py")

    ledger.write_text(f"{ledger.read_text('utf-8')}\n{claims}", "utf-8")
    assert run(copy, "convatlas", "verify", "se_resnet50").returncode == 1  # the paper is right, the two layers are not

    (copy / "src/convatlas/architectures/classification/se_resnet50.py").write_text(network, "utf-8")
    (copy / "tests/test_se_resnet50.py").write_text(test, "utf-8")
    contract = (copy / "pyproject.toml").read_text("utf-8").replace("    # Inception\n", f"{arrow}    # Inception\n")
    (copy / "pyproject.toml").write_text(contract, "utf-8")

    succeed(copy, "convatlas", *write_table)
    verified = succeed(copy, "convatlas", "verify", "se_resnet50")
    assert "2 printed claims: 2 hold" in verified
    assert "1 without a verified layer table" in verified
    for number in ("28,088,024", "3,860,488,192"):
        assert number in verified
        assert number in (copy / "CONTRIBUTING.md").read_text("utf-8")

    ledger.write_text(ledger.read_text("utf-8").replace('"unverified: ', '"verified: '), "utf-8")
    assert "without a verified layer table" not in succeed(copy, "convatlas", "verify", "se_resnet50")
    refused = run(copy, "convatlas", *write_table)
    assert refused.returncode == 1
    assert "its table stays as it is" in refused.stderr

    tests = ("tests/test_se_resnet50.py", "tests/test_contract.py", "tests/test_shape_comments.py")
    succeed(copy, "pytest", "-q", "-k", "se_resnet50", *tests)
    succeed(copy, "ruff", "check", "--no-cache", "src", "tests/test_se_resnet50.py")
    contracts = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=copy, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(copy / "src")}, check=False,
    )  # fmt: skip
    assert contracts.returncode == 0, contracts.stdout


@pytest.mark.slow
@pytest.mark.parametrize("task", DEFAULTS)
def test_what_is_written_runs(copy: Path, task: str) -> None:
    for _ in range(2):  # the second time into the paper's file, which is there
        name = f"newcomer_{len(list(copy.glob('tests/test_newcomer_*')))}"
        arguments = ("new-network", name, "--task", task, "--paper", "nobody2017_try")
        succeed(copy, "convatlas", *arguments)
        succeed(copy, "convatlas", "verify", name)
    again = run(copy, "convatlas", *arguments)
    assert again.returncode == 2
    assert "is registered; expected a new one" in again.stderr
    tests = ("tests/test_newcomer_1.py", "tests/test_contract.py", "tests/test_shape_comments.py")
    succeed(copy, "pytest", "-q", "-k", "newcomer", *tests)
    written = [str(path.relative_to(copy)) for path in copy.rglob("*newcomer*.py")]
    succeed(copy, "ruff", "check", "--no-cache", *written)
    succeed(copy, "ruff", "format", "--check", "--no-cache", *written)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("newcomer", "--task", "captions", "--paper", "nobody2017_try"), "--task captions; expected one of"),
     (("New-comer", "--paper", "nobody2017_try"), "name is 'New-comer'; expected small letters"),
     (("newcomer",), "--paper is missing"),
     (("newcomer", "--paper", "nobody"), "--paper nobody; expected first author, year"),
     (("lenet5", "--paper", "nobody2017_try"), "name is 'lenet5', which is registered")],
)  # fmt: skip
def test_what_cannot_be_written_is_said(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-network", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_templates_cover_every_task() -> None:
    assert set(DEFAULTS) == set(Task.__args__)


def test_names_that_count_up_become_a_pattern() -> None:
    assert fold(["a1", "a2", "a3"]) == ["a{1..3}"]
    assert fold(["a1.b1", "a1.b2", "a2.b1", "a2.b2"]) == ["a1.b{1..2}", "a2.b{1..2}"]
    assert fold(["a1", "a3"]) == ["a1", "a3"]
    assert fold(["a2", "a1"]) == ["a2", "a1"]
    assert fold(["conv1", "bn1", "conv2"]) == ["conv1", "bn1", "conv2"]
    assert fold(["x"]) == ["x"]


def test_a_table_has_the_layers_with_weights_and_the_pools() -> None:
    rows = layer_table(trace_network("caffe_lenet")).splitlines()
    assert [re.findall(r'name = "(\w+)"', row)[0] for row in rows] == ["conv1", "pool1", "conv2", "pool2", "ip1", "ip2"]
    assert rows[2] == (
        '{name = "conv2", op = "conv", out = [50, 8, 8], kernel = [5, 5], stride = [1, 1], padding = [0, 0], '
        "params = 25050, macs = 1600000}"
    )
