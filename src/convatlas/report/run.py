"""The report of a run, whatever its task, finished or not."""

from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from convatlas import inference
from convatlas.data.splits import Loadable
from convatlas.errors import ConvatlasError, UsageError
from convatlas.inference import Source
from convatlas.records import AnyEvaluation, Evaluation
from convatlas.report import frame, html
from convatlas.report import published as printed
from convatlas.report.frame import Body, RunRecord
from convatlas.report.tasks import TASKS, Progress, Shown

WEIGHTS = {"best": "the best epoch", "last": "the last epoch"}


@dataclass(frozen=True)
class Written:
    """A report, and what it could not show."""

    path: Path
    missing: tuple[str, ...]  # sentences


def write(
    run: Path,
    evaluation: AnyEvaluation,
    test: Loadable,
    *,
    dataset: str | None = None,
    source: Source | None = None,
    warnings: tuple[str, ...] = (),
    on_progress: Progress | None = None,
) -> Path:
    """Writes `report.html` into a run folder and gives its path; arguments and errors as `page.write`.

    `on_progress` is called with (images done, images) where the network looks at the test split once more.
    """
    shown = Shown(source or inference.open_source(str(run)), evaluation, test, dataset, on_progress)
    record = frame.read_run(run)
    body = replace(TASKS[record.card.task](record, shown), warnings=warnings)
    return html.save(run / "report.html", frame.render(frame.context(record, body)))


def rewrite(run: Path, *, root: Path | None = None, on_progress: Progress | None = None) -> Written:
    """Writes the report of any run again, from what is there.

    The weights that are the run's result, else the others, look at the test split again. Where there are no weights, or
    the data can't be read, the page has the curves, the recipe and the proof, and says what is missing.

    Args:
        run: a run folder.
        root: where known data sets lie; by default where the run found them.
        on_progress: called with (images done, images).

    Raises:
        ConvatlasError: the folder is no run, or the page can't be written.

    Example:
        >>> rewrite(Path("runs/demo")).path  # doctest: +SKIP
        PosixPath('runs/demo/report.html')
    """
    record = frame.read_run(run)
    source, missing = _opened(record)
    if source is not None:
        try:
            dataset, evaluation = inference.score(source, root=root)
            name = dataset.name if isinstance(evaluation, Evaluation) else None
            path = write(
                run, evaluation, dataset.test, dataset=name, source=source, warnings=missing, on_progress=on_progress
            )
            return Written(path, missing)
        except (ConvatlasError, OSError) as error:
            missing += (f"The test split could not be evaluated: {error}.",)
    path = html.save(run / "report.html", frame.render(frame.context(record, _without_evaluation(record, missing))))
    return Written(path, missing)


def _opened(run: RunRecord) -> tuple[Source | None, tuple[str, ...]]:
    """The network with the weights that the run has, and what has to be said of them."""
    reasons = []
    for which in ("last", "best") if run.recipe.keep == "last" else ("best", "last"):
        name = WEIGHTS[which]
        path = run.folder.weights(which)
        if not path.is_file():
            continue
        try:
            source = inference.open_source(str(run.folder.path), path)
        except UsageError:
            raise
        except ConvatlasError as error:
            reasons.append(f"The weights of {name} can't be read: {error}.")
            continue
        unfinished = (f"The numbers are those of {name} so far.",) if run.state else ()
        return source, (*reasons, *unfinished)
    return None, (*reasons, "There are no weights yet to evaluate: they are written after the first epoch.")


def _without_evaluation(run: RunRecord, missing: tuple[str, ...]) -> Body:
    dataset = printed.dataset_name(run.recipe)
    published = f"Published: {run.recipe.expected}." if run.recipe.expected else ""
    return Body(dataset, run.card.summary, [], Markup(), [], published, warnings=missing)
