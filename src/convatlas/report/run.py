"""The report of a finished run, whatever its task."""

from pathlib import Path
from typing import Any

from convatlas.report import marked, page
from convatlas.structures import Evaluation


def write(run: Path, evaluation: Any, test: Any, *, dataset: str | None = None) -> Path:
    """Writes `report.html` into a finished run folder and gives its path; arguments and errors as `page.write`."""
    if isinstance(evaluation, Evaluation):
        return page.write(run, evaluation, test, dataset=dataset)
    return marked.write_marked(run, evaluation, test)
