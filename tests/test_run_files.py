"""Files of a run that somebody has changed: bounded, and answered in a sentence by every command that reads them."""

import gzip
import shutil
from pathlib import Path

import pytest

from convatlas.cli import main
from convatlas.data.limits import read_gzip
from convatlas.errors import ConvatlasError
from convatlas.training import inventory

DEEP = "[" * 100_000


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "runs" / "run"))


@pytest.mark.parametrize("file", ["summary.json", "environment.json"])
@pytest.mark.parametrize("content", [DEEP, '{"a":' * 5_000, "9" * 5_000, "[]", "\0"])
def test_damaged_files_are_named(run: Path, file: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / file).write_text(content)
    for command in (["runs", str(run.parent)], ["report", str(run)], ["cite", str(run)]):
        code = main(command)
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert code in (0, 1)
        assert "unexpected" not in said
        assert code == 0 or file in said


def test_a_record_of_samples_that_unfolds_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.json.gz"
    path.write_bytes(gzip.compress(b"0" * 20_000_000))
    monkeypatch.setenv("CONVATLAS_MAX_UNPACKED_BYTES", "1000000")
    with pytest.raises(ConvatlasError, match="unfolds to"):
        read_gzip(path)
    with pytest.raises(ConvatlasError):
        inventory.read(path)
    path.write_bytes(gzip.compress(b"{}"))
    assert read_gzip(path) == b"{}"
