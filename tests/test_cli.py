"""The frame of the command line: what it lists, what it loads, and how it ends when something goes wrong."""

import errno
import subprocess
import sys
from types import SimpleNamespace

import pytest

from convatlas import cli
from convatlas.errors import ConvatlasError, UsageError


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def command() -> None:
        """Fails."""
        raise error

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: SimpleNamespace(command=command))


def test_help_lists_every_command_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--help")
    places = [out.index(f" {name} ") for name in ("list", "show", "verify", "train", "eval", "predict", "doctor")]
    assert (code, err) == (0, "")
    assert places == sorted(places)
    assert "\x1b" not in out


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert "Usage: convatlas" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, "convatlas 0.1.0\n", "")


def test_help_loads_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "matplotlib", "jinja2", "convatlas.registry", "convatlas.cli.train"]
    code = (
        f"import sys; from convatlas.cli import main; main(['--help']); print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "evl")
    assert code == 2
    assert err.startswith("convatlas: error: ")
    assert "'eval'" in err
    assert err.count("\n") == 1


def test_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "doctor", "--frobnicate")
    assert code == 2
    assert "--frobnicate" in err
    assert "convatlas doctor --help" in err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("epochs is 0; expected at least 1"), 2, "error: epochs is 0; expected at least 1"),
        (ConvatlasError("no images in x"), 1, "error: no images in x"),
        (OSError(errno.ENOSPC, "No space left on device", "run/x"), 1, "error: run/x: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "run"), 1, "error: run: permission denied"),
        (MemoryError(), 1, "error: out of memory; a smaller --batch-size or a smaller network would need less"),
        (RuntimeError("[enforce fail] can't allocate memory: 9 TB"), 1, "error: out of memory; a smaller --batch-size"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("division by zero\nmore"), 1, "error: unexpected ZeroDivisionError: division by zero ("),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, sentence: str
) -> None:
    monkeypatch.delenv("CONVATLAS_DEBUG", raising=False)
    failing(monkeypatch, error)
    got, _, err = run(capsys, "doctor")
    assert got == code
    if code != 130:  # typer itself turns an interrupt into its exit code
        assert err.startswith(f"convatlas: {sentence}")
        assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--debug", "doctor"), ("doctor", "--debug")])
def test_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    failing(monkeypatch, ConvatlasError("broken"))
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert "Traceback" in err
    assert err.endswith("convatlas: error: broken\n")


def test_debug_after_two_dashes_is_a_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVATLAS_DEBUG", raising=False)
    assert cli.split_debug(["predict", "--", "--debug"]) == (["predict", "--", "--debug"], False)
    assert cli.split_debug(["--debug", "predict", "--", "x"]) == (["predict", "--", "x"], True)


def test_python_m_convatlas() -> None:
    result = subprocess.run([sys.executable, "-m", "convatlas", "frob"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "frob" in result.stderr
