"""`convatlas report`: writes or rewrites the report of a run."""

from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.common import print_json, progress, say, warn


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, finished, stopped or still going on.")],
    data_root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Write or rewrite report.html of any run, also of one that was stopped.

    The weights of the best epoch, or of the last one, look at the test images again. Where they or the data are gone,
    the page has the curves, the recipe and the proof, and says what is missing.
    """
    from convatlas import report

    with progress("Looking at the test images") as step:
        written = report.rewrite(run, root=data_root, on_progress=step)
    if json:
        print_json({"report": str(written.path), "missing": list(written.missing)})
        return
    for sentence in written.missing:
        warn(sentence)
    say(f"report {written.path}: open it in a browser")
