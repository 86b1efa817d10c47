"""The notebook is run from its first cell to its last, as Jupyter runs it."""

import os
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "quickstart.ipynb"


def outputs(cell: dict) -> str:
    """All that a cell shows, as text."""
    shown = []
    for output in cell["outputs"]:
        shown.append(output.get("text", ""))
        shown += [str(value) for value in output.get("data", {}).values()]
    return "\n".join(shown)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own machinery
def test_every_cell_of_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "bin" / "convatlas"  # of this checkout, whatever is installed
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m convatlas "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1] / "src"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) == 10
    assert all(not cell.get("outputs") for cell in notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = [outputs(cell) for cell in notebook.cells if cell.cell_type == "code"]
    everything = "\n".join(said)
    for word in ("Traceback", "Warning", "unexpected", "install &quot;ipywidgets"):
        assert word not in everything, word
    shown, proved, trained, loaded, image, batch, explained, report, terminal = said
    assert "<th>receptive_field</th>" in shown
    assert "holds" in proved
    assert trained.count("<td>") >= 2 * 7
    assert "<progress" not in trained  # the bar is gone when the work is done
    assert "'classification'" in loaded
    assert "images[0]" in image
    assert "images[0][4]" in batch
    assert "srcdoc" in explained
    assert "srcdoc" in report
    assert "run folder" in terminal
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
    assert (tmp_path / "runs" / "terminal" / "summary.json").is_file()
