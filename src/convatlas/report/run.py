"""The report of a finished run, whatever its task."""

from pathlib import Path
from typing import Any

from convatlas.report import marked, page
from convatlas.report.marked import Progress
from convatlas.structures import Evaluation


def write(
    run: Path, evaluation: Any, test: Any, *, dataset: str | None = None, on_progress: Progress | None = None
) -> Path:
    """Writes `report.html` into a finished run folder and gives its path; arguments and errors as `page.write`.

    `on_progress` is called with (pictures done, pictures) where the network looks at the test part once more.
    """
    if isinstance(evaluation, Evaluation):
        return page.write(run, evaluation, test, dataset=dataset)
    return marked.write_marked(run, evaluation, test, on_progress=on_progress)
